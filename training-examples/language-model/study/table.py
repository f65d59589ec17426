"""Tables and a chart of the study from the folders that run.sh left.

    python3 table.py OUT... > table.md        writes study.svg beside it
"""

import json
import math
import pathlib
import re
import sys


def read(folder):
    """One run: its options, its size, and what held-out text costs its model."""
    config = json.loads((folder / "config.json").read_text())
    text = (folder / "eval.txt").read_text()
    nats = re.search(r"trained +([\d.]+) nats/token +([\d.]+) nats/byte", text)
    model = config["model"]
    width, inner, layers = model["d_model"], model["d_ff"], model["layers"]
    matrices = layers * (4 * width * width + 3 * width * inner)
    return {
        "name": folder.name,
        "dense": model["dense"],
        "matrices": matrices,
        "parameters": matrices + model["vocabulary"] * width,
        "sizes": (width, inner, layers),
        "rate": config["learning_rate"],
        "seed": config["seed"],
        "optimizer": config.get("optimizer") or "adamw",
        "from_float": bool(config.get("base")),
        "steps": config["steps"],
        "warm_up": config.get("quantization_steps"),
        "token": float(nats[1]),
        "byte": float(nats[2]),
    }


runs = [read(eval.parent) for out in sys.argv[1:] for eval in sorted(pathlib.Path(out).glob("*/eval.txt"))]
plain = [run for run in runs if not run["from_float"] and run["optimizer"] == "adamw" and run["seed"] == 42]
sizes = sorted({run["parameters"] for run in plain})


def best(parameters, dense):
    arm = [run for run in plain if run["parameters"] == parameters and run["dense"] == dense]
    return min(arm, key=lambda run: run["token"], default=None)


print("| parameters | layers | width | float, nats/token | rate | ternary, nats/token | rate | gap | 26 / N^0.26 + 0.09 |")
print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
points = []
for parameters in sizes:
    dense, ternary = best(parameters, True), best(parameters, False)
    if not (dense and ternary):
        continue
    width, _, layers = dense["sizes"]
    gap, law = ternary["token"] - dense["token"], 26 / parameters**0.26 + 0.09
    points.append((parameters, dense["token"], ternary["token"]))
    print(
        f"| {parameters / 1e6:.1f} M | {layers} | {width} | {dense['token']:.4f} | {dense['rate']:g} "
        f"| {ternary['token']:.4f} | {ternary['rate']:g} | {gap:.4f} | {law:.3f} |"
    )
print("\nEvery run:\n\n| run | arm | peak rate | optimizer | seed | steps | nats/token | nats/byte |")
print("|---|---|---:|---|---:|---:|---:|---:|")
for run in sorted(runs, key=lambda run: (run["parameters"], run["dense"], run["name"])):
    arm = "float" if run["dense"] else "ternary"
    if run["from_float"]:
        arm += f" from float, {run['warm_up'] or 0} steps between"
    print(
        f"| {run['name']} | {arm} | {run['rate']:g} | {run['optimizer']} | {run['seed']} | {run['steps']} "
        f"| {run['token']:.4f} | {run['byte']:.4f} |"
    )

# The chart: nats a token over parameters, on a logarithmic axis.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 60, 620, 30, 310
if len(points) > 1:
    low, high = (math.log10(value) for value in (points[0][0] / 1.3, points[-1][0] * 1.3))
    losses = [loss for point in points for loss in point[1:]]
    floor, ceiling = min(losses) - 0.05, max(losses) + 0.05
    x = lambda n: LEFT + (RIGHT - LEFT) * (math.log10(n) - low) / (high - low)
    y = lambda loss: BOTTOM - (BOTTOM - TOP) * (loss - floor) / (ceiling - floor)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#24292f">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>']
    for rule in range(5):
        loss = floor + rule * (ceiling - floor) / 4
        parts.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y(loss):.1f}" y2="{y(loss):.1f}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.2f}</text>')
    for arm, (label, colour) in enumerate((("float", "#0969da"), ("ternary", "#cf222e")), start=1):
        line = " ".join(f"{x(point[0]):.1f},{y(point[arm]):.1f}" for point in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(p[0]):.1f}" cy="{y(p[arm]):.1f}" r="4" fill="{colour}"/>' for p in points]
        parts.append(f'<text x="{x(points[0][0]) + 8:.1f}" y="{y(points[0][arm]) - 8:.1f}" fill="{colour}">{label}</text>')
    for parameters, *_ in points:
        parts.append(f'<text x="{x(parameters):.1f}" y="{BOTTOM + 18}" text-anchor="middle">{parameters / 1e6:.1f} M</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 10}">nats a token of held-out text</text>')
    parts.append(f'<text x="{RIGHT}" y="{BOTTOM + 36}" text-anchor="end">parameters</text></svg>')
    pathlib.Path("study.svg").write_text("\n".join(parts) + "\n")
