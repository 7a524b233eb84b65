// The instruction set: the best that the processor has, or the one that UNSPOOL_ISA names.
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "abi.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace unspool {
#if defined(__x86_64__)
// Weak: at address 0 where CMake's UNSPOOL_ISAS lacks it.
namespace avx512_bf16 {                // and VNNI: products of narrower numbers
extern const Kernels table __attribute__((weak));
extern const Kernels tiled __attribute__((weak));   // those of bfloat16 by AMX
}
namespace avx512 { extern const Kernels table __attribute__((weak)); }
namespace avx2 { extern const Kernels table __attribute__((weak)); }
namespace portable { extern const Kernels table __attribute__((weak)); }
#elif defined(__ARM_NEON)
namespace neon { extern const Kernels table; }
#else
namespace portable { extern const Kernels table; }
#endif

#if defined(__x86_64__)
// Asked of the processor itself: __builtin_cpu_supports reads a table that some compilers' runtimes leave empty.
// Intel's manual, volume 2, CPUID (leaves 1 and 7); volume 1, 14.3 and 15.2: the system must save the registers, too.
struct Processor {
  unsigned features = 0, wide = 0, more = 0, last = 0, narrower = 0, saved = 0;

  Processor() {
    unsigned a, b, c, d, leaves = 0;
    if (!__get_cpuid(1, &a, &b, &features, &d)) return;
    if (__get_cpuid_count(7, 0, &leaves, &b, &c, &d)) wide = b, more = c, last = d;
    if (leaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) narrower = a;
    if (features & bit_OSXSAVE) __asm__("xgetbv" : "=a"(saved), "=d"(d) : "c"(0));
  }

  static bool all(unsigned of, unsigned bits) { return (of & bits) == bits; }
  bool avx2() const { return all(saved, 0x06) && all(features, bit_AVX | bit_FMA) && all(wide, bit_AVX2); }
  bool avx512() const {
    return avx2() && all(saved, 0xe6) && all(wide, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ);
  }
  bool narrow() const { return avx512() && all(more, bit_AVX512VNNI) && all(narrower, bit_AVX512BF16); }
  // AMX_TILE, AMX_BF16; both parts of the tiles' state.
  bool tiles() const { return narrow() && all(last, 1u << 24 | 1u << 22) && all(saved, 0x60000); }
};
#endif

#if defined(__x86_64__)
// Asks the system for the tiles, once a process (Linux, Documentation/arch/x86/xstate.rst): it may refuse, as it does
// where the signal stack of a thread is too small for their 8 KB.
static bool tiles_granted() {
#if defined(__linux__)
  constexpr int REQUEST = 0x1023, TILE_DATA = 18;      // ARCH_REQ_XCOMP_PERM
  static const bool granted = syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
  return granted;
#else
  return false;
#endif
}
#endif

const Kernels* kernels_named(const char* name) {
  const std::string wanted = name;
#if defined(__x86_64__)
  const Processor processor;
  const bool has_avx2 = processor.avx2(), has_avx512 = processor.avx512(), has_narrow = processor.narrow();
  if (processor.tiles() && &avx512_bf16::tiled && (wanted == "amx_bf16" || wanted.empty()) && tiles_granted())
    return &avx512_bf16::tiled;
  if (has_narrow && &avx512_bf16::table && (wanted == "avx512_bf16" || wanted.empty())) return &avx512_bf16::table;
  if (has_avx512 && &avx512::table && (wanted == "avx512" || wanted.empty())) return &avx512::table;
  if (has_avx2 && &avx2::table && (wanted == "avx2" || wanted.empty())) return &avx2::table;
  if (&portable::table && (wanted == "portable" || wanted.empty())) return &portable::table;
#elif defined(__ARM_NEON)
  if (wanted == "neon" || wanted == "portable" || wanted.empty()) return &neon::table;
#else
  if (wanted == "portable" || wanted.empty()) return &portable::table;
#endif
  return nullptr;
}

const Kernels& kernels() {
  static const Kernels& chosen = [] () -> const Kernels& {
    const char* name = std::getenv("UNSPOOL_ISA");
    const Kernels* found = kernels_named(name ? name : "");
    if (!found)
      throw std::runtime_error(std::string("The UNSPOOL_ISA environment variable must name an instruction set that "
                                           "this machine has: portable, avx2, avx512, avx512_bf16 or amx_bf16 (neon on ARM). Got '") + name + "'.");
    return *found;
  }();
  return chosen;
}

}  // namespace unspool
