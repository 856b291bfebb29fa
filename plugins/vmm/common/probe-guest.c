#include "plugins/vmm/common/probe-guest.h"

#ifdef __x86_64__

/*
 * A flat multiboot image loaded at 1 MiB (Multiboot 0.6.96, 3.1: flag 16 gives the addresses in the header). Every
 * address is written as AT(label): a constant, so that the code needs no relocation within this shared object. Page
 * tables lie below 2 MiB, which one large page maps: PML4 at 0x1fc000, then the two levels under it.
 */
#define AT(label) "(" label " - probe_guest_begin + 0x100000)"

extern const unsigned char probe_guest_begin[] __attribute__((visibility("hidden")));
extern const unsigned char probe_guest_end[] __attribute__((visibility("hidden")));

__asm__(
    ".pushsection .rodata\n"
    ".balign 16\n"
    ".globl probe_guest_begin, probe_guest_end\n"
    ".hidden probe_guest_begin, probe_guest_end\n"
    "probe_guest_begin:\n"
    "   .long 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)\n" /* magic, flags, checksum */
    "   .long 0x100000, 0x100000, 0, 0, " AT(
        "1f") "\n" /* header, load, end: all of the file, no bss, entry */
              "1: .code32\n"
              "   lgdt " AT("6f") "\n"
                                  "   movl $0x1fc000, %edi\n" /* clear the tables */
                                  "   xorl %eax, %eax\n"
                                  "   movl $0xc00, %ecx\n"
                                  "   cld\n"
                                  "   rep stosl\n"
                                  "   movl $0x1fd003, 0x1fc000\n" /* present, writable */
                                  "   movl $0x1fe003, 0x1fd000\n"
                                  "   movl $0x83, 0x1fe000\n" /* and large: 2 MiB from 0 */
                                  "   movl $0x1fc000, %eax\n"
                                  "   movl %eax, %cr3\n"
                                  "   movl %cr4, %eax\n"
                                  "   orl $0x20, %eax\n" /* PAE */
                                  "   movl %eax, %cr4\n"
                                  "   movl $0xc0000080, %ecx\n" /* EFER.LME */
                                  "   rdmsr\n"
                                  "   orl $0x100, %eax\n"
                                  "   wrmsr\n"
                                  "   movl %cr0, %eax\n"
                                  "   orl $0x80000000, %eax\n" /* paging */
                                  "   movl %eax, %cr0\n"
                                  "   ljmp $8, $" AT("2f") "\n"
                                                           "2: .code64\n"
                                                           "   leaq 4f(%rip), %rsi\n"
                                                           "   movl $(5f - 4f), %ecx\n"
                                                           "   movl $0x3f8, %edx\n"
                                                           "   rep outsb\n"
                                                           "3: movb $0xfe, %al\n" /* the keyboard controller's reset */
                                                           "   outb %al, $0x64\n"
                                                           "   jmp 3b\n"
                                                           "4: .ascii \"" PROBE_MARKER "\\n\"\n"
                                                           "5: .balign 8\n"
                                                           "7: .quad 0, 0x00209a0000000000\n" /* null; 64-bit code */
                                                           "6: .word 15\n"
                                                           "   .long " AT("7b") "\n"
                                                                                "probe_guest_end:\n"
                                                                                ".popsection\n");

const void *probe_guest(size_t *ret_size)
{
    *ret_size = (size_t)(probe_guest_end - probe_guest_begin);
    return probe_guest_begin;
}

#else

const void *probe_guest(size_t *ret_size)
{
    *ret_size = 0;
    return "";
}

#endif
