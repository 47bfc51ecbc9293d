/* system.rows.h - the instructions that see or change the machine (see rows.h).
 *
 * PRIVILEGE is the manual's: what traps at CPL 3.  SENSITIVITY is Popek's and
 * Goldberg's: USER with CONTROL or BEHAVIOUR is what makes x86 not virtualizable by
 * traps alone (SGDT, SIDT, SLDT, STR, SMSW, LAR, LSL, VERR, VERW; with PUSHF, POPF,
 * the segment moves and far transfers of integer.rows.h).  Descriptor stores trap
 * when CR4.UMIP is set, RDTSC when CR4.TSD is: that is the guest's choice, so the
 * rows say USER.  Intel SDM volume 2 and volume 3A, 2.8; syscall and sysret are Intel's,
 * in 64-bit mode only. */
// clang-format off
/* Ports */
X86_ROW(IN_AL_IB,   "in",         "E4 ib",                "AL,Ib",   ANY,       BASE,       IO,     CONTROL,   "",          "ENDS B8",    in_i)
X86_ROW(IN_EAX_IB,  "in",         "E5 ib",                "EAX,Ib",  ANY,       BASE,       IO,     CONTROL,   "",          "ENDS",       in_i)
X86_ROW(IN_AL_DX,   "in",         "EC",                   "AL,DX",   ANY,       BASE,       IO,     CONTROL,   "",          "ENDS B8",    in_d)
X86_ROW(IN_EAX_DX,  "in",         "ED",                   "EAX,DX",  ANY,       BASE,       IO,     CONTROL,   "",          "ENDS",       in_d)
X86_ROW(OUT_IB_AL,  "out",        "E6 ib",                "Ib,AL",   ANY,       BASE,       IO,     CONTROL,   "",          "ENDS B8",    out_i)
X86_ROW(OUT_IB_EAX, "out",        "E7 ib",                "Ib,EAX",  ANY,       BASE,       IO,     CONTROL,   "",          "ENDS",       out_i)
X86_ROW(OUT_DX_AL,  "out",        "EE",                   "DX,AL",   ANY,       BASE,       IO,     CONTROL,   "",          "ENDS B8",    out_d)
X86_ROW(OUT_DX_EAX, "out",        "EF",                   "DX,EAX",  ANY,       BASE,       IO,     CONTROL,   "",          "ENDS",       out_d)
X86_ROW(INS_B,      "ins",        "6C",                   "Yb,DX",   ANY,       BASE,       IO,     CONTROL,   "",          "REP ENDS B8", ins)
X86_ROW(INS_Z,      "ins",        "6D",                   "Yz,DX",   ANY,       BASE,       IO,     CONTROL,   "",          "REP ENDS",   ins)
X86_ROW(OUTS_B,     "outs",       "6E",                   "DX,Xb",   ANY,       BASE,       IO,     CONTROL,   "",          "REP ENDS B8", outs)
X86_ROW(OUTS_Z,     "outs",       "6F",                   "DX,Xz",   ANY,       BASE,       IO,     CONTROL,   "",          "REP ENDS",   outs)

/* Interrupt flag, halting */
X86_ROW(CLI,        "cli",        "FA",                   "-",       ANY,       BASE,       IO,     CONTROL,   "W:I",       "",           cli)
X86_ROW(STI,        "sti",        "FB",                   "-",       ANY,       BASE,       IO,     CONTROL,   "W:I",       "ENDS",       sti)
X86_ROW(HLT,        "hlt",        "F4",                   "-",       ANY,       BASE,       SYSTEM, CONTROL,   "",          "ENDS",       hlt)
X86_ROW(MONITOR,    "monitor",    "0F 01 C8",             "-",       ANY,       MONITOR,    SYSTEM, CONTROL,   "",          "",           monitor)
X86_ROW(MWAIT,      "mwait",      "0F 01 C9",             "-",       ANY,       MONITOR,    SYSTEM, CONTROL,   "",          "ENDS",       mwait)

/* Descriptor tables and segments */
X86_ROW(SGDT,       "sgdt",       "0F 01 /0:m",           "Ms",      ANY,       BASE,       USER,   BEHAVIOUR, "",          "F64",        sgdt)
X86_ROW(SIDT,       "sidt",       "0F 01 /1:m",           "Ms",      ANY,       BASE,       USER,   BEHAVIOUR, "",          "F64",        sidt)
X86_ROW(LGDT,       "lgdt",       "0F 01 /2:m",           "Ms",      ANY,       BASE,       SYSTEM, CONTROL,   "",          "F64 ENDS",   lgdt)
X86_ROW(LIDT,       "lidt",       "0F 01 /3:m",           "Ms",      ANY,       BASE,       SYSTEM, CONTROL,   "",          "F64 ENDS",   lidt)
X86_ROW(SLDT_R,     "sldt",       "0F 00 /0:r",           "Ev",      PROTECTED, BASE,       USER,   BEHAVIOUR, "",          "",           sldt)
X86_ROW(SLDT_M,     "sldt",       "0F 00 /0:m",           "Ew",      PROTECTED, BASE,       USER,   BEHAVIOUR, "",          "",           sldt)
X86_ROW(STR_R,      "str",        "0F 00 /1:r",           "Ev",      PROTECTED, BASE,       USER,   BEHAVIOUR, "",          "",           str)
X86_ROW(STR_M,      "str",        "0F 00 /1:m",           "Ew",      PROTECTED, BASE,       USER,   BEHAVIOUR, "",          "",           str)
X86_ROW(LLDT,       "lldt",       "0F 00 /2",             "Ew",      PROTECTED, BASE,       SYSTEM, CONTROL,   "",          "ENDS",       lldt)
X86_ROW(LTR,        "ltr",        "0F 00 /3",             "Ew",      PROTECTED, BASE,       SYSTEM, CONTROL,   "",          "ENDS",       ltr)
X86_ROW(VERR,       "verr",       "0F 00 /4",             "Ew",      PROTECTED, BASE,       USER,   BEHAVIOUR, "W:Z",       "",           verr)
X86_ROW(VERW,       "verw",       "0F 00 /5",             "Ew",      PROTECTED, BASE,       USER,   BEHAVIOUR, "W:Z",       "",           verw)
X86_ROW(LAR,        "lar",        "0F 02 /r",             "Gv,Ew",   PROTECTED, BASE,       USER,   BEHAVIOUR, "M:Z",       "",           lar)
X86_ROW(LSL,        "lsl",        "0F 03 /r",             "Gv,Ew",   PROTECTED, BASE,       USER,   BEHAVIOUR, "M:Z",       "",           lsl)
X86_ROW(ARPL,       "arpl",       "63 /r",                "Ew,Gw",   LEGACY,    BASE,       USER,   INNOCUOUS, "W:Z",       "",           arpl)

/* Control and debug registers */
X86_ROW(SMSW_R,     "smsw",       "0F 01 /4:r",           "Ev",      ANY,       BASE,       USER,   BEHAVIOUR, "",          "",           smsw)
X86_ROW(SMSW_M,     "smsw",       "0F 01 /4:m",           "Ew",      ANY,       BASE,       USER,   BEHAVIOUR, "",          "",           smsw)
X86_ROW(LMSW,       "lmsw",       "0F 01 /6",             "Ew",      ANY,       BASE,       SYSTEM, CONTROL,   "",          "ENDS",       lmsw)
X86_ROW(CLTS,       "clts",       "0F 06",                "-",       ANY,       BASE,       SYSTEM, CONTROL,   "",          "ENDS",       clts)
X86_ROW(MOV_R_C,    "mov",        "0F 20 /r",             "Ry,Cy",   ANY,       BASE,       SYSTEM, BEHAVIOUR, "U:OSZAPC",  "F64",        mov_rc)
X86_ROW(MOV_C_R,    "mov",        "0F 22 /r",             "Cy,Ry",   ANY,       BASE,       SYSTEM, CONTROL,   "U:OSZAPC",  "F64 ENDS",   mov_cr)
X86_ROW(MOV_R_D,    "mov",        "0F 21 /r",             "Ry,Dy",   ANY,       BASE,       SYSTEM, BEHAVIOUR, "U:OSZAPC",  "F64",        mov_rd)
X86_ROW(MOV_D_R,    "mov",        "0F 23 /r",             "Dy,Ry",   ANY,       BASE,       SYSTEM, CONTROL,   "U:OSZAPC",  "F64 ENDS",   mov_dr)
X86_ROW(XGETBV,     "xgetbv",     "NP 0F 01 D0",          "-",       ANY,       XSAVE,      USER,   BEHAVIOUR, "",          "",           xgetbv)
X86_ROW(XSETBV,     "xsetbv",     "NP 0F 01 D1",          "-",       ANY,       XSAVE,      SYSTEM, CONTROL,   "",          "ENDS",       xsetbv)
X86_ROW(CLAC,       "clac",       "NP 0F 01 CA",          "-",       ANY,       SMAP,       SYSTEM, CONTROL,   "",          "",           clac)
X86_ROW(STAC,       "stac",       "NP 0F 01 CB",          "-",       ANY,       SMAP,       SYSTEM, CONTROL,   "",          "",           stac)

/* Caches and translations */
X86_ROW(INVD,       "invd",       "0F 08",                "-",       ANY,       BASE,       SYSTEM, CONTROL,   "",          "",           invd)
X86_ROW(WBINVD,     "wbinvd",     "0F 09",                "-",       ANY,       BASE,       SYSTEM, CONTROL,   "",          "",           invd)
X86_ROW(INVLPG,     "invlpg",     "0F 01 /7:m",           "Mb",      ANY,       BASE,       SYSTEM, CONTROL,   "",          "ENDS",       invlpg)
X86_ROW(INVPCID,    "invpcid",    "66 0F 38 82 /r:m",     "Gy,Mdq",  ANY,       INVPCID,    SYSTEM, CONTROL,   "",          "F64 ENDS",   invpcid)
X86_ROW(CLFLUSH,    "clflush",    "NP 0F AE /7:m",        "Mb",      ANY,       CLFSH,      USER,   INNOCUOUS, "",          "",           clflush)
X86_ROW(CLFLUSHOPT, "clflushopt", "66 0F AE /7:m",        "Mb",      ANY,       CLFLUSHOPT, USER,   INNOCUOUS, "",          "",           clflush)

/* Model-specific registers, counters, identity */
X86_ROW(RDMSR,      "rdmsr",      "0F 32",                "-",       ANY,       MSR,        SYSTEM, BEHAVIOUR, "",          "",           rdmsr)
X86_ROW(WRMSR,      "wrmsr",      "0F 30",                "-",       ANY,       MSR,        SYSTEM, CONTROL,   "",          "ENDS",       wrmsr)
X86_ROW(RDTSC,      "rdtsc",      "0F 31",                "-",       ANY,       TSC,        USER,   BEHAVIOUR, "",          "",           rdtsc)
X86_ROW(RDTSCP,     "rdtscp",     "0F 01 F9",             "-",       ANY,       RDTSCP,     USER,   BEHAVIOUR, "",          "",           rdtscp)
X86_ROW(RDPMC,      "rdpmc",      "0F 33",                "-",       ANY,       BASE,       USER,   BEHAVIOUR, "",          "",           rdpmc)
X86_ROW(RDPID,      "rdpid",      "F3 0F C7 /7:r",        "Ry",      ANY,       RDPID,      USER,   BEHAVIOUR, "",          "F64",        rdpid)
X86_ROW(CPUID,      "cpuid",      "0F A2",                "-",       ANY,       BASE,       USER,   BEHAVIOUR, "",          "",           cpuid)

/* System calls, segment bases */
X86_ROW(SYSCALL,    "syscall",    "0F 05",                "-",       LONG,      SYSCALL,    USER,   CONTROL,   "W:OSZAPC",  "ENDS F64",   syscall)
X86_ROW(SYSRET,     "sysret",     "0F 07",                "-",       LONG,      SYSCALL,    SYSTEM, CONTROL,   "W:OSZAPC",  "ENDS",       sysret)
X86_ROW(SYSENTER,   "sysenter",   "0F 34",                "-",       ANY,       SEP,        USER,   CONTROL,   "",          "ENDS",       sysenter)
X86_ROW(SYSEXIT,    "sysexit",    "0F 35",                "-",       ANY,       SEP,        SYSTEM, CONTROL,   "",          "ENDS",       sysexit)
X86_ROW(SWAPGS,     "swapgs",     "0F 01 F8",             "-",       LONG,      LM,         SYSTEM, CONTROL,   "",          "",           swapgs)
X86_ROW(RDFSBASE,   "rdfsbase",   "F3 0F AE /0:r",        "Ry",      LONG,      FSGSBASE,   USER,   INNOCUOUS, "",          "",           rdfsbase)
X86_ROW(RDGSBASE,   "rdgsbase",   "F3 0F AE /1:r",        "Ry",      LONG,      FSGSBASE,   USER,   INNOCUOUS, "",          "",           rdgsbase)
X86_ROW(WRFSBASE,   "wrfsbase",   "F3 0F AE /2:r",        "Ry",      LONG,      FSGSBASE,   USER,   INNOCUOUS, "",          "",           wrfsbase)
X86_ROW(WRGSBASE,   "wrgsbase",   "F3 0F AE /3:r",        "Ry",      LONG,      FSGSBASE,   USER,   INNOCUOUS, "",          "",           wrgsbase)
X86_ROW(VMCALL,     "vmcall",     "0F 01 C1",             "-",       ANY,       BASE,       USER,   CONTROL,   "",          "ENDS",       vmcall)
X86_ROW(VMMCALL,    "vmmcall",    "0F 01 D9",             "-",       ANY,       BASE,       USER,   CONTROL,   "",          "ENDS",       vmcall)
// clang-format on
