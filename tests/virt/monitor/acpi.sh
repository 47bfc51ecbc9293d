#!/bin/sh
# acpi.sh DUMP - ACPICA's compiler reads our tables, and finds in them what they are to say.
set -eu
dump=$(realpath "$1")
if ! command -v iasl >/dev/null; then
    echo "skipped: iasl (acpica-tools) is not installed"
    exit 77
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
"$dump" 300
for table in XSDT FACP FACS APIC MCFG DSDT; do
    iasl -d "$table.dat" >"$table.log" 2>&1 || { cat "$table.log"; exit 1; }
    if grep -iE 'error|warning|invalid|unknown|incorrect' "$table.log" "$table.dsl"; then
        echo "$table: the lines above"
        exit 1
    fi
done
want() {
    grep -q -- "$2" "$1.dsl" || { echo "$1 does not say '$2'"; cat "$1.dsl"; exit 1; }
}
want DSDT 'EisaId ("PNP0A08")'
want DSDT '_S5, Package'
want DSDT '0x000000053FFFFFFF, // Range Max'
want APIC 'Processor x2Apic ID : 0000012B'
want FACP 'Reset Register Supported (V2) : 1'
want MCFG 'Base Address : 00000000E0000000'

# What it disassembles to compiles again, without a remark, to the same bytes.
iasl -p again DSDT.dsl >again.log 2>&1 || { cat again.log; exit 1; }
grep -q ' 0 Errors, 0 Warnings' again.log || { cat again.log; exit 1; }
