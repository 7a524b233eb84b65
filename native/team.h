// Threads that take every step of the same sequences together: each computes some columns of each product, and all
// else for itself.
#pragma once
#include <atomic>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace unspool {

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

constexpr int MAX_TEAM = 16;

struct Team {
  float* exchange[2] = {};   // (MAX_ROWS, width of a product): in turn, so that one can be read while one is written
  struct alignas(64) Count {
    std::atomic<unsigned> value{0};
  } products[MAX_TEAM];      // that each member has done
};

struct Member {              // of a team; the one of rank 0 writes the results
  Team* team;
  int rank, size;
  unsigned products = 0;

  float* exchange() const { return team->exchange[products & 1]; }

  void meet() {
    team->products[rank].value.store(++products, std::memory_order_release);
    for (int other = 0; other < size; other++)
      for (int spins = 0; (int)(team->products[other].value.load(std::memory_order_acquire) - products) < 0; spins++)
        spins < 20000 ? relax() : std::this_thread::yield();
  }
};

}  // namespace unspool
