//! `strftime_now` of chat templates: some put the date into the system prompt.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];

/// The present time, in UTC, by a `strftime` format.
pub(super) fn now(format: &str) -> String {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    strftime(format, elapsed.map_or(0, |elapsed| elapsed.as_secs()))
}

/// Seconds since 1970 by the codes that dates in prompts use; others stay as they are.
fn strftime(format: &str, seconds: u64) -> String {
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[(days % 7) as usize]);
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('Y') => out += &format!("{year}"),
            Some('y') => out += &format!("{:02}", year % 100),
            Some('m') => out += &format!("{month:02}"),
            Some('d') => out += &format!("{day:02}"),
            Some('H') => out += &format!("{hour:02}"),
            Some('I') => out += &format!("{:02}", (hour + 11) % 12 + 1),
            Some('p') => out += if hour < 12 { "AM" } else { "PM" },
            Some('M') => out += &format!("{minute:02}"),
            Some('S') => out += &format!("{second:02}"),
            Some('B') => out += month_name,
            Some('b') => out += &month_name[..3],
            Some('A') => out += day_name,
            Some('a') => out += &day_name[..3],
            Some('%') => out.push('%'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `civil_from_days`): years begin in March, so that a leap day is the
/// last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year + 400 * era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn known_moments_have_their_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 Thursday, 01 January 70"),
            (951_782_400, "2000-02-29 00:00:00 Tuesday, 29 February 00"),
            (
                1_709_251_199,
                "2024-02-29 23:59:59 Thursday, 29 February 24",
            ),
            (1_709_251_200, "2024-03-01 00:00:00 Friday, 01 March 24"),
            (
                4_102_444_799,
                "2099-12-31 23:59:59 Thursday, 31 December 99",
            ),
        ] {
            let found = strftime("%Y-%m-%d %H:%M:%S %A, %d %B %y", seconds);
            assert_eq!(found, expected);
        }
        assert_eq!(
            strftime("%b %a %I %p %% %q %", 46_800),
            "Jan Thu 01 PM % %q %"
        );
    }
}
