#include "plugins/vmm/common/probe-guest.h"

#ifdef __x86_64__

/* clang-format off */

/*
 * Both images are loaded at 1 MiB as they are, and entered in protected mode with flat segments. Every address is
 * written as AT(begin, label): a constant, so that the code needs no relocation within this shared object. Page tables
 * lie below 2 MiB, which one large page maps: PML4 at 0x1fc000, then the two levels under it.
 */
#define AT(begin, label) "(" label " - " begin " + 0x100000)"

/* From label 1 to the end of the image; end: instructions that end the machine, in long mode. */
#define CODE(begin, end)                                                                                               \
    "1: .code32\n"                                                                                                     \
    "   lgdt " AT(begin, "6f") "\n"                                                                                    \
    "   movl $0x1fc000, %edi\n" /* clear the tables */                                                                 \
    "   xorl %eax, %eax\n"                                                                                             \
    "   movl $0xc00, %ecx\n"                                                                                           \
    "   cld\n"                                                                                                         \
    "   rep stosl\n"                                                                                                   \
    "   movl $0x1fd003, 0x1fc000\n" /* present, writable */                                                            \
    "   movl $0x1fe003, 0x1fd000\n"                                                                                    \
    "   movl $0x83, 0x1fe000\n" /* and large: 2 MiB from 0 */                                                          \
    "   movl $0x1fc000, %eax\n"                                                                                        \
    "   movl %eax, %cr3\n"                                                                                             \
    "   movl %cr4, %eax\n"                                                                                             \
    "   orl $0x20, %eax\n" /* PAE */                                                                                   \
    "   movl %eax, %cr4\n"                                                                                             \
    "   movl $0xc0000080, %ecx\n" /* EFER.LME */                                                                       \
    "   rdmsr\n"                                                                                                       \
    "   orl $0x100, %eax\n"                                                                                            \
    "   wrmsr\n"                                                                                                       \
    "   movl %cr0, %eax\n"                                                                                             \
    "   orl $0x80000000, %eax\n" /* paging */                                                                          \
    "   movl %eax, %cr0\n"                                                                                             \
    "   ljmp $8, $" AT(begin, "2f") "\n"                                                                               \
    "2: .code64\n"                                                                                                     \
    "   leaq 4f(%rip), %rsi\n"                                                                                         \
    "   movl $(5f - 4f), %ecx\n"                                                                                       \
    "   movl $0x3f8, %edx\n"                                                                                           \
    "   rep outsb\n"                                                                                                   \
    end                                                                                                                \
    "4: .ascii \"" PROBE_MARKER "\\n\"\n"                                                                              \
    "5: .balign 8\n"                                                                                                   \
    "7: .quad 0, 0x00209a0000000000\n" /* null; 64-bit code */                                                         \
    "6: .word 15\n"                                                                                                    \
    "   .long " AT(begin, "7b") "\n"

/* ---- multiboot: a flat image (Multiboot 0.6.96, 3.1: flag 16 gives the addresses in the header) ---- */

extern const unsigned char probe_guest_begin[] __attribute__((visibility("hidden")));
extern const unsigned char probe_guest_end[] __attribute__((visibility("hidden")));

__asm__(
    ".pushsection .rodata\n"
    ".balign 16\n"
    ".globl probe_guest_begin, probe_guest_end\n"
    ".hidden probe_guest_begin, probe_guest_end\n"
    "probe_guest_begin:\n"
    "   .long 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)\n" /* magic, flags, checksum */
    "   .long 0x100000, 0x100000, 0, 0, " AT("probe_guest_begin", "1f") "\n" /* header, load, end: all, no bss; entry */
    CODE("probe_guest_begin",
         "3: movb $0xfe, %al\n" /* the keyboard controller's reset */
         "   outb %al, $0x64\n"
         "   jmp 3b\n")
    "probe_guest_end:\n"
    ".popsection\n");

/* ---- PVH: an ELF file of one segment, itself, with the note of its 32-bit entry (Xen's XEN_ELFNOTE_PHYS32_ENTRY)
 * ---- */

extern const unsigned char probe_pvh_begin[] __attribute__((visibility("hidden")));
extern const unsigned char probe_pvh_end[] __attribute__((visibility("hidden")));

__asm__(
    ".pushsection .rodata\n"
    ".balign 16\n"
    ".globl probe_pvh_begin, probe_pvh_end\n"
    ".hidden probe_pvh_begin, probe_pvh_end\n"
    "probe_pvh_begin:\n"
    "   .byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0\n" /* ELF, 64 bits, little end first */
    "   .word 2, 62\n"                                        /* executable, x86-64 */
    "   .long 1\n"
    "   .quad " AT("probe_pvh_begin", "1f") ", 64, 0\n"       /* entry, program headers, no sections */
    "   .long 0\n"
    "   .word 64, 56, 2, 0, 0, 0\n"
    "   .long 1, 7\n"                                         /* LOAD, rwx: the whole file */
    "   .quad 0, 0x100000, 0x100000, probe_pvh_end - probe_pvh_begin, probe_pvh_end - probe_pvh_begin, 4096\n"
    "   .long 4, 4\n"                                         /* NOTE, readable */
    "   .quad 8f - probe_pvh_begin, " AT("probe_pvh_begin", "8f") ", " AT("probe_pvh_begin", "8f") ", 20, 20, 4\n"
    "8: .long 4, 4, 18, 0x006e6558\n"                         /* sizes, type, "Xen" */
    "   .long " AT("probe_pvh_begin", "1f") "\n"
    CODE("probe_pvh_begin",
         "   movl $0x600, %edx\n"
         "   movb $0x34, %al\n" /* sleep type 5, enable */
         "   outb %al, %dx\n"
         "3: cli\n"
         "   hlt\n"
         "   jmp 3b\n")
    "probe_pvh_end:\n"
    ".popsection\n");

/* clang-format on */

const void *probe_guest(size_t *ret_size)
{
    *ret_size = (size_t)(probe_guest_end - probe_guest_begin);
    return probe_guest_begin;
}

const void *probe_guest_pvh(size_t *ret_size)
{
    *ret_size = (size_t)(probe_pvh_end - probe_pvh_begin);
    return probe_pvh_begin;
}

#else

const void *probe_guest(size_t *ret_size)
{
    *ret_size = 0;
    return "";
}

const void *probe_guest_pvh(size_t *ret_size)
{
    *ret_size = 0;
    return "";
}

#endif
