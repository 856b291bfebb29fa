/* Where a PVH boot begins: 32-bit, flat, no paging, %ebx = address of struct hvm_start_info. */
        .section .note.Xen, "a", @note
        .balign 4
        .long 4, 4, 18                  /* name size, value size, XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .long _start

        .text
        .code32
        .globl _start
_start: cli
        cld
        mov $stack_top, %esp
        push %ebx
        call toy_main
1:      hlt
        jmp 1b

        .bss
        .balign 16
        .space 8192
stack_top:
        .section .note.GNU-stack, "", @progbits
