/* Buttons and the end of the machine. */
#ifndef GUEST_POWER_H
#define GUEST_POWER_H

#include <stdbool.h>
#include <stddef.h>

#define POWER_BUTTONS_MAX 8

/* Opens the input devices that have a power key. Returns how many descriptors were put into ret. */
size_t power_open_buttons(int ret[POWER_BUTTONS_MAX]);
/* Reads what waits in the descriptor; true when the power key was pressed. */
bool power_is_pressed(int fd);

/* Ends the machine at once. Where the platform has no power switch (no ACPI) it resets, which a VMM without reboot
 * takes as an end. */
_Noreturn void power_off(void);
_Noreturn void power_reset(void);

#endif
