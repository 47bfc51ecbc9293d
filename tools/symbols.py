"""Which words in back quotes name something of the tree, and whether it is there."""
import re
import tree

NAME = re.compile(r"^(?:(?:struct|enum|union)\s+)?([A-Za-z_]\w*)(?:\(\))?$")
FILE = re.compile(r"^[\w./-]*\w\.(?:c|h|py|sh|op|md|json|build)$")
TEXT = (".c", ".h", ".py", ".sh", ".op", ".build", ".json")


class Known:
    """Every word of the tree's code (comments do not count) and every file."""

    def __init__(self, top):
        paths = tree.files(top)
        self.files = {p.as_posix() for p in paths} | {p.name for p in paths}
        self.files |= {p.relative_to("src").as_posix() for p in paths if p.parts[0] == "src"}
        self.words = {part for p in paths for part in (*p.parts, p.stem)}
        made = top / "build/dev/src"  # generated sources count, too
        paths += [p.relative_to(top) for p in sorted(made.rglob("*.gen.[ch]"))]
        self.files |= {p.name for p in paths}
        for p in paths:
            if p.suffix in (".c", ".h"):
                self.add(tree.without_comments(tree.read(top / p)))
            elif p.suffix in TEXT or p.parts[0] == "tools":
                self.add(tree.read(top / p))

    def add(self, text):
        names = re.findall(r"[A-Za-z_]\w*", text)
        self.words.update(names)
        self.words.update(part for n in names for part in n.split("_"))

    def lacks(self, quoted):
        """Whether `quoted` names a symbol or a file that the tree does not have."""
        if "NAME" in quoted:  # stands for any
            return False
        if FILE.match(quoted):
            return quoted.removeprefix("src/") not in self.files and quoted not in self.files
        m = NAME.match(quoted)
        return bool(m) and m[1] not in self.words


def quoted(text):
    """(line, word) of each back-quoted piece; code fences are left out."""
    text = re.sub(r"^```.*?^```", lambda m: tree.blank(m[0]), text, flags=re.S | re.M)
    return [(text.count("\n", 0, m.start()) + 1, m[1])
            for m in re.finditer(r"`([^`\n]+)`", text)]
