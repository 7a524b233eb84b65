// Masks out of the numbers of torch's CPU generator, bit for bit those that torch draws, several times as fast.
//
// The Mersenne Twister MT19937 of Matsumoto and Nishimura 1998 (doi:10.1145/272991.272995). An entry is kept where the 53
// low bits of two numbers, the first of them the high half, are below keep times 2^53.
#pragma once
#include <cmath>
#include <cstdint>

namespace unspool {

constexpr int64_t GENERATOR_WORDS = 632;   // of torch.get_rng_state(): seed, left and seeded, next, 624 numbers, 5 more

// What is left of 624 numbers lies at [at, end).
struct Twister {
  static constexpr int64_t N = 624, M = 397;
  uint32_t numbers[N], drawn[N];   // drawn: as they are given
  int64_t at = 0, end = 0;
};

static inline uint32_t twist(uint32_t a, uint32_t b) {
  return (((a & 0x80000000u) | (b & 0x7fffffffu)) >> 1) ^ (-(b & 1u) & 0x9908b0dfu);
}

static void give(Twister& t, int64_t from, int64_t to) {
  t.at = from, t.end = to;
  for (int64_t i = 0; i < Twister::N; i++) {
    uint32_t y = t.numbers[i];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    t.drawn[i] = y ^ (y >> 18);
  }
}

static void turn(Twister& t) {
  constexpr int64_t N = Twister::N, M = Twister::M;
  uint32_t* x = t.numbers;
  for (int64_t i = 0; i < N - M; i++) x[i] = x[i + M] ^ twist(x[i], x[i + 1]);
  for (int64_t i = N - M; i < N - 1; i++) x[i] = x[i + M - N] ^ twist(x[i], x[i + 1]);
  x[N - 1] = x[M - 1] ^ twist(x[N - 1], x[0]);
  give(t, 0, N);
}

static uint64_t one(Twister& t) {
  if (t.at == t.end) turn(t);
  return t.drawn[t.at++];
}

// out (count): `value` with probability keep, else 0, as `Tensor.bernoulli_(keep)` times value; `state` moves on as there.
static void keep_mask(uint64_t* state, double keep, float value, float* out, int64_t count) {
  Twister t;
  for (int64_t i = 0; i < Twister::N; i++) t.numbers[i] = (uint32_t)state[3 + i];
  give(t, (int64_t)state[2], (int64_t)state[2] + (int64_t)(uint32_t)state[1] - 1);
  const uint64_t below = (uint64_t)std::ceil(std::ldexp(keep, 53));
  for (int64_t i = 0; i < count;) {
    const int64_t whole = (t.end - t.at) / 2, many = whole < count - i ? whole : count - i;
    const uint32_t* pair = t.drawn + t.at;
    for (int64_t j = 0; j < many; j++) {
      const uint64_t number = (uint64_t)(pair[2 * j] & 0x1fffffu) << 32 | pair[2 * j + 1];
      out[i + j] = number < below ? value : 0.0f;
    }
    t.at += 2 * many, i += many;
    if (i == count) break;
    const uint64_t high = one(t);   // this pair begins with the last number of a round, or with the next round
    out[i++] = ((high & 0x1fffffu) << 32 | one(t)) < below ? value : 0.0f;
  }
  state[1] = (state[1] & 0xffffffff00000000ull) | (uint64_t)(t.end - t.at + 1);
  state[2] = (uint64_t)t.at;
  for (int64_t i = 0; i < Twister::N; i++) state[3 + i] = t.numbers[i];
}

}  // namespace unspool
