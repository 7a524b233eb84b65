// Numbers of fewer bits than 32, in groups of 32: two bfloat16, or four integers of 8 bits.
#pragma once
#include "abi.h"
#include "simd.h"

namespace unspool::UNSPOOL_NS {

// The nearest bfloat16, ties to even; a NaN stays one.
static inline uint32_t bfloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (x != x) return 0x7fc0;
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

static inline float largest(const float* x, int64_t stride, int n) {   // size; NaN where there is one
  float m = 0.f;
  for (int i = 0; i < n; i++) {
    const float size = std::fabs(x[i * stride]);
    m = size > m || size != size ? size : m;
    if (m != m) break;
  }
  return m;
}

// What one step of 127 stands for: NaN for a row that has numbers which are not finite.
static inline float step_of(float largest) { return std::isfinite(largest) ? largest / 127.f : NAN; }

static inline int32_t int8(float x, float step) { return step > 0.f ? (int32_t)std::lrintf(x / step) : 0; }

// A row of numbers for a product; its step for INT8, whose numbers lie 128 above. May write up to W groups at once, zeros
// after the last number.
static inline float narrow_row(const float* x, int n, Form form, uint32_t* out) {
  if (form == BFLOAT16) {
#if defined(__AVX512BF16__)
    for (int k = 0; k < n; k += 2 * W) {
      const int low = n - k < W ? n - k : W, high = n - k - low < W ? n - k - low : W;
      _mm512_storeu_si512(out + k / 2, (__m512i)_mm512_cvtne2ps_pbh((__m512)load(x + k + low, high), (__m512)load(x + k, low)));
    }
#else
    for (int k = 0; k < n; k += 2) out[k / 2] = bfloat16(x[k]) | (k + 1 < n ? bfloat16(x[k + 1]) << 16 : 0);
#endif
    return 1.f;
  }
  V most{};
  int k = 0;
  for (; k + W <= n; k += W) {
    const V size = (V)((I)load(x + k) & 0x7fffffff);
    most = (size > most) | (size != size) ? size : most;
  }
  float each[W];
  store(each, most);
  float m = largest(x + k, 1, n - k);
  for (int i = 0; i < W; i++) m = each[i] > m || each[i] != each[i] ? each[i] : m;
  const float step = step_of(m), inverse = step > 0.f ? 1.f / step : 0.f;
  uint8_t* bytes = (uint8_t*)out;
  for (k = 0; k + W <= n; k += W) {
    const I q = __builtin_convertvector(load(x + k) * inverse + 12582912.f - 12582912.f, I) + 128;
#if defined(__AVX512F__)
    _mm_storeu_si128((__m128i*)(bytes + k), _mm512_cvtepi32_epi8((__m512i)q));
#else
    for (int i = 0; i < W; i++) bytes[k + i] = (uint8_t)q[i];
#endif
  }
  for (; k < n; k++) bytes[k] = (uint8_t)(128 + (int)(x[k] * inverse + 12582912.f - 12582912.f));
  for (; k % 4; k++) bytes[k] = 0;
  return step;
}

// The bfloat16 of x in the lower half of each number, that of y in the upper one.
static inline V pair(V x, V y) {
#if defined(__AVX512BF16__)
  const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)x));
  const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)y));
  return (V)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
#else
  const auto rounded = [](V v) {
    const I bits = (I)v;
    return v == v ? bits + 0x7fff + ((bits >> 16) & 1) : bits | 0x400000;
  };
  return (V)(((rounded(x) >> 16) & 0xffff) | (rounded(y) & (int32_t)0xffff0000));
#endif
}

// `columns` of a row of pairs from two rows; the second may be null. Writes whole vectors.
static inline void pair_rows(const float* x, const float* y, int32_t columns, float* out) {
  for (int32_t u = 0; u < columns; u += W) {
    const int n = columns - u < W ? columns - u : W;
    const auto read = [u, n](const float* p) { return !p ? V{} : n == W ? load(p + u) : load(p + u, n); };
    store(out + u, pair(read(x), read(y)));
  }
}

// Columns of panels first ... last of a matrix, with its scales and sums for INT8.
static inline void pack_narrow(const Factor& f, int32_t first, int32_t last) {
  const View& m = f.view;
  const int32_t group = f.form == INT8 ? 4 : 2, count = groups(m.inner, f.form);
  uint32_t* out = (uint32_t*)f.packed;
  for (int32_t p = first; p < last; p++) {
    const int32_t n0 = p * 2 * W, columns = m.width - n0 > W ? 2 * W : W;
    for (int32_t c = 0; c < columns; c++) {
      const int32_t n = n0 + c;
      const float* from = m.data + n * m.width_stride;
      const bool real = n < m.width;
      const float step = real && f.form == INT8 ? step_of(largest(from, m.inner_stride, m.inner)) : 0.f;
      int32_t sum = 0;
      for (int32_t g = 0; g < count; g++) {
        uint32_t bits = 0;
        for (int32_t i = 0; i < group && g * group + i < m.inner && real; i++) {
          const float x = from[(g * group + i) * m.inner_stride];
          const int32_t number = f.form == INT8 ? int8(x, step) : 0;
          sum += number;
          bits |= f.form == INT8 ? (uint32_t)(number & 0xff) << (8 * i) : bfloat16(x) << (16 * i);
        }
        out[(int64_t)n0 * count + (int64_t)g * columns + c] = bits;
      }
      if (f.form == INT8) {
        f.scales[n] = step;
        f.sums[n] = 128 * sum;
      }
    }
  }
}

}  // namespace unspool::UNSPOOL_NS
