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
read_all() { # WORDS OF THE DUMP
    rm -f ./*.dat ./*.dsl
    "$dump" "$@"
    for table in $all; do
        iasl -d "$table.dat" >"$table.log" 2>&1 || { cat "$table.log"; exit 1; }
        if grep -iE 'error|warning|invalid|unknown|incorrect' "$table.log" "$table.dsl"; then
            echo "$table: the lines above"
            exit 1
        fi
    done
    # What it disassembles to compiles again, without a remark, to the same bytes.
    iasl -p again DSDT.dsl >again.log 2>&1 || { cat again.log; exit 1; }
    grep -q ' 0 Errors, 0 Warnings' again.log || { cat again.log; exit 1; }
}
all='XSDT FACP FACS APIC MCFG DSDT'
read_all 300
want() {
    grep -q -- "$2" "$1.dsl" || { echo "$1 does not say '$2'"; cat "$1.dsl"; exit 1; }
}
want DSDT 'EisaId ("PNP0A08")'
want DSDT '_S5, Package'
want DSDT '0x000000053FFFFFFF, // Range Max'
want APIC 'Processor x2Apic ID : 0000012B'
want FACP 'Reset Register Supported (V2) : 1'
want MCFG 'Base Address : 00000000E0000000'

# Of a machine into which processors, memory and functions of PCI are plugged: processors can come, and all but the
# first can go, as can what is in six slots.
all="$all WDAT"
read_all 4 plugs
want DSDT '_HID, "ACPI0010"'
want DSDT 'Method (_E02'
[ "$(grep -c '_HID, "ACPI0007"' DSDT.dsl)" = 4 ] || { echo 'not four processors'; exit 1; }
[ "$(grep -c 'Method (_EJ0, 1' DSDT.dsl)" = 9 ] || { echo 'not three that go, and six slots'; exit 1; }
want DSDT 'Name (_SUN, 0x1D)'
want DSDT 'Method (_E01'
want DSDT '0x001DFFFF'
[ "$(grep -c 'Processor Enabled : 1' APIC.dsl)" = 1 ] || { echo 'not one that is there'; exit 1; }
[ "$(grep -c 'Runtime Online Capable : 1' APIC.dsl)" = 3 ] || { echo 'not three that may come'; exit 1; }
want DSDT 'Method (_E03'
[ "$(grep -c 'EisaId ("PNP0C80")' DSDT.dsl)" = 5 ] || { echo 'not five pieces of memory'; exit 1; }
want DSDT '0x0000000127FFFFFF, // Range Max'

# Its generation (Microsoft, Virtual Machine Generation ID), as another interpreter of AML finds it.
want DSDT '_CID, "VM_Gen_Counter"'
want DSDT 'Notify (\\_SB.VGEN, 0x80)'
if command -v acpiexec >/dev/null; then
    acpiexec -di -b 'execute \_SB.VGEN.ADDR' DSDT.dat >address.log 2>&1 || { cat address.log; exit 1; }
    tr -d '\n' <address.log | grep -q '\[Integer\] = 00000000000EF000.*\[Integer\] = 0000000000000003' || { cat address.log; exit 1; }
fi
want DSDT "0x000BFFFF, *// Range Max"
want FACP 'VGA Not Present (V4) : 0'
want WDAT 'Timer Period : 00000064'
want WDAT 'Watchdog Action : 06'
want WDAT 'Address : 00000000000005F4'
