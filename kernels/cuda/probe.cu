// What the device itself gives: its clock, the rate of a copy, what a launch costs; and what holds
// it up.
//
// Architecture: any.
#include <stdint.h>

// Runs for `nanoseconds` on one thread and writes {clocks, nanoseconds} that went by: their ratio
// is the clock in GHz.
extern "C" __global__ void clock_rate(uint64_t nanoseconds, uint64_t* elapsed) {
    uint64_t start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start)::"memory");
    const long long clock_start = clock64();
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
    } while (now - start < nanoseconds);
    elapsed[0] = static_cast<uint64_t>(clock64() - clock_start);
    elapsed[1] = now - start;
}

// Ends when the word is `ticket`, or after `nanoseconds`. The word lies in the host's memory, and
// the host writes it once it has queued what comes behind this. An end by time comes even if the
// host waits for the device meanwhile.
extern "C" __global__ void wait_for_word(const uint32_t* word, uint32_t ticket, uint64_t nanoseconds) {
    uint64_t start, now;
    uint32_t found;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start)::"memory");
    do {
        asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(found) : "l"(word) : "memory");
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
    } while (found != ticket && now - start < nanoseconds);
}

// Copies `length` 16-byte words.
extern "C" __global__ void __launch_bounds__(512) copy_words(const uint4* source, uint4* target, int64_t length) {
    for (int64_t i = int64_t(blockIdx.x) * 512 + threadIdx.x; i < length; i += int64_t(gridDim.x) * 512) target[i] = source[i];
}

// Does nothing: its time is a launch's own.
extern "C" __global__ void empty() {}
