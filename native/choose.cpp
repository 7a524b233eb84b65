// The instruction set: the best that the processor has, or the one that UNSPOOL_ISA names.
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "abi.h"

namespace unspool {
#if defined(__x86_64__)
// Weak: at address 0 where CMake's UNSPOOL_ISAS lacks it.
namespace avx512_bf16 { extern const Kernels table __attribute__((weak)); }   // and VNNI: products of narrower numbers
namespace avx512 { extern const Kernels table __attribute__((weak)); }
namespace avx2 { extern const Kernels table __attribute__((weak)); }
namespace portable { extern const Kernels table __attribute__((weak)); }
#elif defined(__ARM_NEON)
namespace neon { extern const Kernels table; }
#else
namespace portable { extern const Kernels table; }
#endif

const Kernels* kernels_named(const char* name) {
  const std::string wanted = name;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  const bool has_narrow = has_avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
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
                                           "this machine has: portable, avx2, avx512 or avx512_bf16 (neon on ARM). Got '") + name + "'.");
    return *found;
  }();
  return chosen;
}

}  // namespace unspool
