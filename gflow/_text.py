"""How results are shown."""

WIDTH = 88


def table(title: str, rows: dict[str, str]) -> str:
    """A title, and names and texts in two columns; long texts go on in their column."""
    left = max(map(len, rows)) + 4
    lines = [title]
    for name, text in rows.items():
        words, line = text.split(" "), f"  {name}".ljust(left)
        for word in words:
            if len(line) + len(word) > WIDTH and line.strip():
                lines.append(line.rstrip())
                line = " " * left
            line += word + " "
        lines.append(line.rstrip())
    return "\n".join(lines)
