// Vector instructions of newer processors, without giving up the older ones.
#pragma once

// Compile the function for newer x86 processors too, and choose when the library is loaded.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define LVLM_VA_CPU_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LVLM_VA_CPU_CLONES
#endif
