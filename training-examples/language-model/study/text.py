"""Makes the study's text: C of Linux, its documentation, Rust sources; a document a line, shuffled.

    python3 text.py LINUX_SOURCE.tar.xz CARGO_REGISTRY_SRC MEGABYTES OUT.jsonl
"""
import json, os, random, sys, tarfile

linux, crates, megabytes, out = sys.argv[1:]
want = int(float(megabytes) * 1e6)
random.seed(7)
parts = {"c": [], "docs": [], "rust": []}

def keep(kind, data):
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return
    if 200 <= len(text) <= 100_000:
        parts[kind].append(text)

with tarfile.open(linux) as archive:
    for member in archive:
        name = member.name.split("/", 1)[-1]
        kind = None
        if name.endswith((".rst", ".txt")) and name.startswith("Documentation/"):
            kind = "docs"
        elif name.endswith((".c", ".h")) and name.split("/")[0] in ("kernel", "mm", "fs", "net", "lib", "block", "crypto", "security", "ipc", "init", "sound", "virt", "include"):
            kind = "c"
        if kind and member.isfile() and "/asm-offsets" not in name:
            keep(kind, archive.extractfile(member).read())
for folder, _, files in sorted(os.walk(crates)):
    if "windows" in folder or "/bindings" in folder or "web-sys" in folder:
        continue
    for file in sorted(files):
        if file.endswith((".rs", ".md")):
            path = os.path.join(folder, file)
            if os.path.getsize(path) < 100_000:
                keep("rust" if file.endswith(".rs") else "docs", open(path, "rb").read())
for kind, texts in parts.items():
    texts[:] = sorted(set(texts))
    random.shuffle(texts)
    print(kind, len(texts), sum(map(len, texts)) // 10**6, "MB", file=sys.stderr)
every = [text for texts in parts.values() for text in texts]
random.shuffle(every)
written = 0
with open(out, "w") as file:
    for text in every:
        line = json.dumps({"text": text}, ensure_ascii=False) + "\n"
        written += len(line)
        if written > want:
            break
        file.write(line)
print(written // 10**6, "MB written", file=sys.stderr)
