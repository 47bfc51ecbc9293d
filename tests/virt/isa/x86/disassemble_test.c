/* disassemble_test.c - one line of text for each kind of operand, as objdump writes it.
 *
 * rows: CON-09 */
#include <stdlib.h>
#include <string.h>

#include "tests/base/check.h"
#include "virt/isa/x86/x86.h"

#define AT 0x401000

struct row {
    enum x86_code_mode mode;
    const char *hex;
    const char *text;
};

static int disassemble(enum x86_code_mode mode, const char *hex, char *text, size_t room)
{
    struct x86_insn i;
    uint8_t bytes[32];
    unsigned n = 0;

    for (char *end; *hex != '\0'; hex = end) {
        bytes[n++] = (uint8_t)strtoul(hex, &end, 16);
    }
    assert_int_equal(x86_decode(bytes, n, mode, &i), X86_DECODED);
    return x86_disassemble(&i, AT, text, room);
}

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        char text[100];

        (void)disassemble(rows[k].mode, rows[k].hex, text, sizeof text);
        assert_string_equal(text, rows[k].text);
    }
}

#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof(rows)[0])

static void integer_operands(void **state)
{
    static const struct row rows[] = {
        {X86_CODE64, "48 89 d8", "mov rax,rbx"},
        {X86_CODE64, "88 e0", "mov al,ah"},
        {X86_CODE64, "40 88 e0", "mov al,spl"},
        {X86_CODE64, "45 89 c8", "mov r8d,r9d"},
        {X86_CODE64, "48 83 c4 80", "add rsp,0xffffffffffffff80"},
        {X86_CODE64, "66 83 c0 ff", "add ax,0xffff"},
        {X86_CODE64, "8b 44 8b fc", "mov eax,DWORD PTR [rbx+rcx*4-0x4]"},
        {X86_CODE64, "64 48 8b 04 25 28 00 00 00", "mov rax,QWORD PTR fs:0x28"},
        {X86_CODE64, "8b 04 25 34 12 00 00", "mov eax,DWORD PTR ds:0x1234"},
        {X86_CODE64, "48 8d 05 10 00 00 00", "lea rax,[rip+0x10]"},
        {X86_CODE64, "48 b8 88 77 66 55 44 33 22 11", "movabs rax,0x1122334455667788"},
        {X86_CODE64, "a1 88 77 66 55 44 33 22 11", "movabs eax,ds:0x1122334455667788"},
        {X86_CODE32, "a1 44 33 22 11", "mov eax,ds:0x11223344"},
        {X86_CODE64, "e8 fb 0f 00 00", "call 0x402000"},
        {X86_CODE64, "74 fe", "je 0x401000"},
        {X86_CODE16, "e9 fd ff", "jmp 0x1000"},
        {X86_CODE32, "ea 44 33 22 11 cd ab", "jmp 0xabcd:0x11223344"},
        {X86_CODE32, "ff 2d 00 00 00 00", "jmp FWORD PTR ds:0x0"},
        {X86_CODE64, "f0 48 0f b1 0f", "lock cmpxchg QWORD PTR [rdi],rcx"},
        {X86_CODE64, "0f b6 07", "movzx eax,BYTE PTR [rdi]"},
        {X86_CODE64, "d1 e0", "shl eax,1"},
        {X86_CODE64, "c8 10 00 01", "enter 0x10,0x1"},
        {X86_CODE16, "8b 42 f0", "mov ax,WORD PTR [bp+si-0x10]"},
        {X86_CODE64, "66 90", "xchg ax,ax"},
        {X86_CODE64, "6a ff", "push 0xffffffffffffffff"},
        {X86_CODE64, "66 9c", "pushfw"},
        {X86_CODE64, "48 cf", "iretq"},
    };

    (void)state;
    CHECK(rows);
}

static void strings_and_system(void **state)
{
    static const struct row rows[] = {
        {X86_CODE64, "f3 48 ab", "rep stos QWORD PTR es:[rdi],rax"},
        {X86_CODE64, "f2 ae", "repnz scas al,BYTE PTR es:[rdi]"},
        {X86_CODE64, "f3 a6", "repz cmps BYTE PTR ds:[rsi],BYTE PTR es:[rdi]"},
        {X86_CODE32, "f3 6e", "rep outs dx,BYTE PTR ds:[esi]"},
        {X86_CODE64, "64 a4", "movs BYTE PTR es:[rdi],BYTE PTR fs:[rsi]"},
        {X86_CODE64, "d7", "xlat BYTE PTR ds:[rbx]"},
        {X86_CODE64, "0f 20 d8", "mov rax,cr3"},
        {X86_CODE32, "0f 23 f8", "mov dr7,eax"},
        {X86_CODE64, "0f 01 10", "lgdt [rax]"},
        {X86_CODE64, "8e d8", "mov ds,eax"},
        {X86_CODE64, "8c 18", "mov WORD PTR [rax],ds"},
        {X86_CODE64, "e4 80", "in al,0x80"},
        {X86_CODE64, "66 ed", "in ax,dx"},
        {X86_CODE64, "f3 0f 1e fa", "endbr64"},
    };

    (void)state;
    CHECK(rows);
}

static void vectors_and_floats(void **state)
{
    static const struct row rows[] = {
        {X86_CODE64, "d8 c1", "fadd st,st(1)"},
        {X86_CODE64, "db 28", "fld TBYTE PTR [rax]"},
        {X86_CODE64, "df e0", "fnstsw ax"},
        {X86_CODE64, "0f 6f 07", "movq mm0,QWORD PTR [rdi]"},
        {X86_CODE64, "f2 48 0f 2a c8", "cvtsi2sd xmm1,rax"},
        {X86_CODE64, "0f c2 c1 01", "cmpltps xmm0,xmm1"},
        {X86_CODE64, "66 0f 3a 44 c1 11", "pclmulhqhqdq xmm0,xmm1"},
        {X86_CODE64, "c5 f4 58 07", "vaddps ymm0,ymm1,YMMWORD PTR [rdi]"},
        {X86_CODE64, "c5 f3 58 07", "vaddsd xmm0,xmm1,QWORD PTR [rdi]"},
        {X86_CODE64, "c5 f4 c2 c2 1e", "vcmpgt_oqps ymm0,ymm1,ymm2"},
        {X86_CODE64, "c4 e3 69 4a d9 70", "vblendvps xmm3,xmm2,xmm1,xmm7"},
        {X86_CODE64, "c4 e2 fd 92 0c 80", "vgatherdpd ymm1,QWORD PTR [rax+xmm0*4],ymm0"},
        {X86_CODE64, "c4 e2 7d 93 0c 80", "vgatherqps xmm1,DWORD PTR [rax+ymm0*4],xmm0"},
        {X86_CODE64, "c4 e2 7d 92 0c 80", "vgatherdps ymm1,DWORD PTR [rax+ymm0*4],ymm0"},
        {X86_CODE64, "c4 e2 e8 f2 c1", "andn rax,rdx,rcx"},
        {X86_CODE64, "c4 e3 fd 00 c1 4e", "vpermq ymm0,ymm1,0x4e"},
    };

    (void)state;
    CHECK(rows);
}

static void a_little_buffer_cuts_the_text(void **state)
{
    char text[8] = "xxxxxxx";

    (void)state;
    assert_int_equal(disassemble(X86_CODE64, "48 89 d8", text, sizeof text), 11);
    assert_string_equal(text, "mov rax");
    assert_int_equal(disassemble(X86_CODE64, "48 89 d8", NULL, 0), 11);
}

static void what_is_no_instruction_is_bad(void **state)
{
    char text[20];

    (void)state;
    (void)disassemble(X86_CODE64, "06", text, sizeof text);
    assert_string_equal(text, "(bad)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integer_operands),
        cmocka_unit_test(strings_and_system),
        cmocka_unit_test(vectors_and_floats),
        cmocka_unit_test(a_little_buffer_cuts_the_text),
        cmocka_unit_test(what_is_no_instruction_is_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
