/* Runs one object of the native backend under an emulator: image in, flags and image out.

   arguments: bytes of the arena, steps, value of FPCR to begin with (hexadecimal)
   standard input: the arena with the inputs written; standard output: 4 bytes of flags, then the arena */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

extern void init(void *arena);
extern uint32_t run(void *arena, uint64_t steps);

int main(int count, char **arguments) {
    if (count != 4) return 2;
    size_t size = strtoull(arguments[1], 0, 10), padded = (size + 63) / 64 * 64;
    uint64_t control = strtoull(arguments[3], 0, 16);
    uint8_t *arena = aligned_alloc(64, padded ? padded : 64);
    if (!arena || fread(arena, 1, size, stdin) != size) return 3;
    init(arena);
    __asm__ volatile("msr fpcr, %0" : : "r"(control));
    uint32_t flags = run(arena, strtoull(arguments[2], 0, 10));
    if (fwrite(&flags, 1, 4, stdout) != 4 || fwrite(arena, 1, size, stdout) != size) return 4;
    return 0;
}
