"""Folded stacks (`a;b;c 12`) to a flame graph: one SVG that needs nothing else."""

import html

WIDTH, ROW, FONT = 1200, 17, 11
NARROWEST = 0.3  # pixels below which a frame is not drawn


def tree(folded):
    """A nested dictionary: name -> [samples, children]."""
    root = [0, {}]
    for line in folded:
        stack, _, count = line.rpartition(" ")
        node, count = root, float(count)
        node[0] += count
        for name in stack.split(";"):
            node = node[1].setdefault(name, [0, {}])
            node[0] += count
    return root


def colour(name):
    if name.startswith("[k]"):
        return "#d98b6a"
    seed = sum(ord(letter) * (at + 7) for at, letter in enumerate(name[:24]))
    return "#%02x%02x%02x" % (225 + seed % 25, 150 + seed % 70, 70 + seed % 40)


def svg(folded, title, unit):
    """The whole graph; the widest frames are at the bottom. Every frame has a tool tip with its share."""
    root = tree(folded)
    frames, deepest = [], 0
    stack = [("all", root, 0.0, 0)]
    while stack:
        name, node, left, depth = stack.pop()
        width = WIDTH * node[0] / root[0] if root[0] else 0
        if width < NARROWEST:
            continue
        frames.append((name, node[0], left, width, depth))
        deepest = max(deepest, depth)
        at = left
        for child, below in sorted(node[1].items()):
            stack.append((child, below, at, depth + 1))
            at += WIDTH * below[0] / root[0]
    height = (deepest + 3) * ROW
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="100%%" viewBox="0 0 %d %d" font-family="monospace" font-size="%d">' % (WIDTH, height, FONT),
           '<rect width="100%" height="100%" fill="#fff"/>', '<text x="6" y="13">%s</text>' % html.escape(title)]
    for name, count, left, width, depth in frames:
        top = height - (depth + 1) * ROW
        text = html.escape(name[:int(width / (FONT * 0.62))]) if width > 24 else ""
        tip = html.escape("%s: %g %s, %.1f %%" % (name, count, unit, 100 * count / root[0]))
        out.append('<g><title>%s</title><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s" stroke="#fff" stroke-width="0.5"/>'
                   '<text x="%.1f" y="%d">%s</text></g>' % (tip, left, top, width, ROW - 1, colour(name), left + 3, top + 12, text))
    return "\n".join(out + ["</svg>"]) + "\n"


def leaves(folded, most=12):
    """The frames where the samples end, most first: (share, name)."""
    totals, all_samples = {}, 0.0
    for line in folded:
        stack, _, count = line.rpartition(" ")
        name = stack.split(";")[-1]
        totals[name] = totals.get(name, 0) + float(count)
        all_samples += float(count)
    ranked = sorted(totals.items(), key=lambda pair: -pair[1])[:most]
    return [(100 * count / all_samples, name) for name, count in ranked]
