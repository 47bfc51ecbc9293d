"""Manual pages (roff), the command reference (Markdown) and the list of examples."""

from .record import GROUPS

GROUP_TITLES = {"guest": "Guests", "snapshot": "Snapshots of a guest's disk", "image": "Images",
                "network": "Networks", "volume": "Volumes", "pool": "Pools",
                "isa": "Instruments of the processor", "debug": "Machines looked into", "host": "This host"}
TYPE_NOTES = (
    ("SIZE", "bytes, or with K, M, G or T behind: powers of 1024 (512M, 1.5G)"),
    ("DURATION", "seconds, or with ms, s, m, h or d behind each part (250ms, 1h30m)"),
    ("CPUS", "processors, or thousandths with m behind (0.5, 250m)"),
    ("TIME", "an RFC 3339 time, or a duration before now (2026-01-02T03:04:05Z, 10m)"),
    ("GUEST", "a name, an identifier, or the unique beginning of one"),
)
PROGRAM_EXITS = (("0", "done"), ("1", "failed; standard error says why"), ("2", "wrong usage"),
                 ("125-127", "as container tools use them; see run and exec"))
NOTE = "Made by tools/opgen.py from src/wire/ops; never edited by hand."


def roff(text):
    """Text as roff takes it literally."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha")
    text = text.replace("`", "\\(ga").replace("~", "\\(ti")
    return "\\&" + text if text.startswith(".") else text


def paragraphs(text):
    return [" ".join(p.split()) for p in text.split("\n\n") if p.strip()]


def option_names(item):
    value = (" " + item.value) if item.value else ""
    return ("-%s, " % item.letter if item.letter else "") + "--" + item.long + value


def item_help(item):
    help_ = item.help
    if item.many and not item.positional:
        help_ += "; may be repeated"
    return help_ + (" [%s]" % item.shown_default if item.shown_default else "")


def tagged(pairs):
    return "".join(".TP\n.B %s\n%s\n" % (roff(tag), roff(text)) for tag, text in pairs)


def example_lines(example):
    for mark, text in example.lines:
        if mark == "$":
            yield "$ " + text
        elif mark == ">":
            yield text


def man_op(rec):
    page = "strata\\-" + roff(rec.name.replace(" ", "-"))
    out = ['.\\" %s\n.TH "%s" 1 "" "Strata %s" "Strata"\n' % (NOTE, page.upper(), rec.since),
           ".SH NAME\n%s \\- %s\n" % (page, roff(rec.help)),
           ".SH SYNOPSIS\n.B %s\n" % roff(rec.usage), ".SH DESCRIPTION\n"]
    body = paragraphs(rec.text) or [rec.help[0].upper() + rec.help[1:] + "."]
    out.append("\n.PP\n".join(roff(p) for p in body) + "\n")
    if rec.positionals:
        out.append(".SH ARGUMENTS\n" + tagged((i.value, item_help(i)) for i in rec.positionals))
    if rec.options:
        out.append(".SH OPTIONS\n" + tagged((option_names(i), item_help(i)) for i in rec.options))
    if rec.states:
        out.append(".SH STATES\nThe guest must be %s.\n" % " or ".join(rec.states))
    if rec.fields:
        out.append(".SH RESULT\nWith\n.BR \\-\\-json :\n"
                   + tagged((f.name, "(%s) %s" % (f.type, f.help)) for f in rec.fields))
    out.append(".SH EXIT STATUS\n" + tagged(exits(rec)))
    out.append(".SH EXAMPLES\n")
    for example in rec.examples:
        out.append(".PP\n%s:\n.PP\n.nf\n%s\n.fi\n" % (
            roff(example.title[0].upper() + example.title[1:]),
            "\n".join(roff(line) for line in example_lines(example))))
    pages = [("strata", 1)] + [("strata-" + n.replace(" ", "-"), 1) for n, _ in rec.see]
    out.append(see_also(pages))
    return "".join(out)


def exits(rec):
    known = dict(rec.exits)
    base = [("0", "done"), ("1", "failed"), ("2", "wrong usage")]
    return [(c, known.get(c, t)) for c, t in base] + [e for e in rec.exits if e[0] not in "012"]


def see_also(pages):
    lines = [".BR %s (%d)%s" % (roff(name), section, "," if n + 1 < len(pages) else "")
             for n, (name, section) in enumerate(pages)]
    return ".SH SEE ALSO\n" + "\n".join(lines) + "\n"


def man_main(ops, parts):
    out = ['.\\" %s\n.TH "STRATA" 1 "" "Strata" "Strata"\n' % NOTE,
           ".SH NAME\nstrata \\- run anything, anywhere Linux runs\n",
           ".SH SYNOPSIS\n.B strata\n[OPTION...] COMMAND [ARGUMENT...]\n",
           ".SH DESCRIPTION\nStrata starts guests from images, and stops, pauses, copies and deletes "
           "them. No daemon is needed, and no rights of root.\n",
           ".SH OPTIONS\nThese may stand before or after the command.\n",
           tagged((option_names(i), item_help(i)) for _, i, _ in parts["global"].items())]
    for group in GROUPS:
        out.append(".SS %s\n" % GROUP_TITLES[group] if group != GROUPS[0]
                   else ".SH COMMANDS\n.SS %s\n" % GROUP_TITLES[group])
        out.append(tagged((r.name, r.help) for r in ops if r.group == group))
    out.append(".SH VALUES\n" + tagged(TYPE_NOTES))
    out.append(".SH EXIT STATUS\n" + tagged(PROGRAM_EXITS))
    out.append(see_also([("strata-" + r.name.replace(" ", "-"), 1) for r in ops]))
    return "".join(out)


def man_pages(ops, parts):
    yield "strata.1", man_main(ops, parts)
    for rec in ops:
        yield "strata-%s.1" % rec.name.replace(" ", "-"), man_op(rec)


def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;")


def reference_op(rec):
    out = ["### strata %s\n\n%s.\n\n    %s\n" % (
        rec.name, rec.help[0].upper() + rec.help[1:], rec.usage)]
    out += [p + "\n" for p in paragraphs(rec.text)]
    rows = [("`%s`" % i.value, i) for i in rec.positionals]
    rows += [("`%s`" % option_names(i), i) for i in rec.options]
    if rows:
        out.append("| argument | type | meaning |\n|---|---|---|\n" + "".join(
            "| %s | %s | %s |\n" % (cell(name), i.type, cell(item_help(i))) for name, i in rows))
    if rec.states:
        out.append("Guest: %s.\n" % ", ".join(rec.states))
    if rec.fields:
        kind = {"list": "a list of objects", "object": "an object",
                "stream": "objects, one a line"}[rec.result]
        out.append("Result: %s.\n\n| member | type | meaning |\n|---|---|---|\n%s" % (kind, "".join(
            "| `%s` | %s | %s |\n" % (f.name, f.type, cell(f.help)) for f in rec.fields)))
    for example in rec.examples:
        out.append("%s:\n\n%s\n" % (example.title[0].upper() + example.title[1:],
                                    "\n".join("    " + t for t in example_lines(example))))
    out.append("Since %s. See also: %s.\n" % (rec.since, ", ".join(n for n, _ in rec.see)))
    return "\n".join(out)


def reference(ops, parts):
    out = ["<!-- %s -->\n# Commands\n\nEvery command takes the global options, and `--json` prints "
           "its result for programs.\n" % NOTE,
           "| global option | meaning |\n|---|---|\n" + "".join(
               "| `%s` | %s |\n" % (option_names(i), cell(item_help(i)))
               for _, i, _ in parts["global"].items()),
           "| value | meaning |\n|---|---|\n" + "".join(
               "| %s | %s |\n" % pair for pair in TYPE_NOTES),
           "| exit code | meaning |\n|---|---|\n" + "".join(
               "| %s | %s |\n" % pair for pair in PROGRAM_EXITS)]
    for group in GROUPS:
        out.append("## %s\n" % GROUP_TITLES[group])
        out += [reference_op(r) for r in ops if r.group == group]
    return "\n".join(out)


def examples(ops):
    """Blocks for tests/cli/examples.sh: '= OP: TITLE', '+ NEEDS', then marked lines."""
    out = ["# " + NOTE]
    for rec in ops:
        for example in rec.examples:
            out.append("= %s: %s" % (rec.name, example.title))
            out += ["+ " + " ".join(example.needs)] if example.needs else []
            out += ["%s %s" % pair for pair in example.lines]
    return "\n".join(out) + "\n"
