//! The chat page in headless Chromium. Without `chromedriver` it is skipped, and says so.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tokio::net::TcpStream;
use tritburn_server::{ApiKeys, ServerOptions};

use crate::common::*;

/// Chromium, driven by its WebDriver.
struct Browser {
    driver: Child,
    client: Client,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// `None` where the driver is not installed.
    async fn start() -> Option<Self> {
        let port = {
            let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
            free.local_addr().unwrap().port()
        };
        let mut driver = Command::new("chromedriver");
        driver
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let Ok(driver) = driver.spawn() else {
            eprintln!("skipped: chromedriver is not installed (Debian: chromium, chromium-driver)");
            return None;
        };
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The sandbox wants more of the system than containers give.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1100,720",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ];
        let options = json!({ "args": arguments });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(serde_json::from_value(json!({ "goog:chromeOptions": options })).unwrap())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("Chromium starts");
        Some(Self { driver, client })
    }

    async fn run(&self, script: &str) -> serde_json::Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Waits until a script is true, 20 s at most.
    async fn until(&self, script: &str) {
        for _ in 0..400 {
            if self.run(&format!("return Boolean({script})")).await == json!(true) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let page = self.client.source().await.unwrap();
        panic!("{script} is not true after 20 s in\n{page}");
    }

    async fn type_in(&self, css: &str, text: &str) {
        let field = self.client.find(Locator::Css(css)).await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    async fn click(&self, css: &str) {
        self.client
            .find(Locator::Css(css))
            .await
            .unwrap()
            .click()
            .await
            .unwrap();
    }
}

const LAST: &str = "document.querySelector('#log article:last-of-type')";

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_streams_stops_and_goes_on() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let server = Server::start(&ENDLESS, small_engine(), local()).await;
    browser.client.goto(&server.url("/")).await.unwrap();
    browser
        .until("document.getElementById('model').textContent.includes('4,096')")
        .await;

    // Nothing is asked of anyone else.
    let foreign = "performance.getEntriesByType('resource').filter(r => !r.name.startsWith(location.origin)).length";
    assert_eq!(browser.run(&format!("return {foreign}")).await, json!(0));

    browser.click("#toggle").await;
    browser.type_in("#system", "Be brief.").await;
    browser.run("const n = document.getElementById('max_tokens'); n.value = 40; n.dispatchEvent(new Event('input'))").await;
    browser.click("#toggle").await;
    browser
        .type_in(
            "#prompt",
            &format!("first line{0}{1}{0}second line", Key::Shift, Key::Enter),
        )
        .await;
    browser
        .run("document.getElementById('ask').requestSubmit()")
        .await;
    browser
        .until(&format!(
            "{LAST}?.matches('.assistant') && {LAST}.querySelector('footer')"
        ))
        .await;
    let note = browser
        .run(&format!(
            "return {LAST}.querySelector('footer').textContent"
        ))
        .await;
    let note = note.as_str().unwrap();
    assert!(
        note.contains("40 tokens") && note.contains("tokens/s"),
        "{note}"
    );
    let asked = browser
        .run("return document.querySelector('article.user').textContent")
        .await;
    assert_eq!(asked, json!("first line\nsecond line"));

    // A long answer is stopped: the server hears of it.
    browser.run("const n = document.getElementById('max_tokens'); n.value = 3000; n.dispatchEvent(new Event('input'))").await;
    browser
        .type_in("#prompt", &format!("again{}", Key::Enter))
        .await;
    browser
        .until(&format!(
            "{LAST}?.firstChild.matches('.writing') && {LAST}.textContent.length > 20"
        ))
        .await;
    browser.click("#stop").await;
    browser
        .until(&format!(
            "{LAST}.querySelector('footer')?.textContent.includes('stopped')"
        ))
        .await;
    server.idle().await;
    assert_eq!(server.engines[0].stats().finished_cancelled, 1);

    // Settings outlive the page, and the conversation has both turns.
    assert_eq!(browser.run("return messages.length").await, json!(4));
    browser.click("#new").await;
    assert_eq!(
        browser
            .run("return document.querySelectorAll('article').length")
            .await,
        json!(0)
    );
    browser.client.refresh().await.unwrap();
    assert_eq!(
        browser
            .run("return document.getElementById('system').value")
            .await,
        json!("Be brief.")
    );
    browser.client.clone().close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_keys_are_told_to_the_user() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let options = ServerOptions {
        api_keys: ApiKeys::new(["secret".to_string()]),
        ..local()
    };
    let server = Server::start(&BITNET, small_engine(), options).await;
    browser.client.goto(&server.url("/")).await.unwrap();
    browser
        .until("!document.getElementById('settings').hidden")
        .await;
    browser
        .type_in("#key", &format!("secret{}", Key::Tab))
        .await;
    browser
        .until("document.getElementById('model').textContent.includes('toy')")
        .await;
    browser.run("const n = document.getElementById('max_tokens'); n.value = 4000; n.dispatchEvent(new Event('input'))").await;
    browser
        .type_in("#prompt", &format!("hello{}", Key::Enter))
        .await;
    browser
        .until("document.querySelector('article.error')?.textContent.includes('512')")
        .await;
    // What a message spells is never markup.
    browser.run("const n = document.getElementById('max_tokens'); n.value = 4; n.dispatchEvent(new Event('input'))").await;
    browser
        .type_in(
            "#prompt",
            &format!("<img src=x onerror=alert(1)>{}", Key::Enter),
        )
        .await;
    browser
        .until(&format!("{LAST}?.querySelector('footer')"))
        .await;
    assert_eq!(
        browser
            .run("return document.querySelectorAll('#log img').length")
            .await,
        json!(0)
    );
    let unnamed = "[...document.querySelectorAll('input, textarea, button')].filter(e => \
         !e.labels?.length && !e.textContent.trim()).length";
    assert_eq!(
        browser.run(&format!("return {unnamed}")).await,
        json!(0),
        "every control has a name"
    );
    browser.client.clone().close().await.unwrap();
}
