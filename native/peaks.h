// Where each column of a sequence's rows is largest.
#pragma once
#include "simd.h"

namespace unspool::UNSPOOL_NS {

// Bit masks of comparisons choose lane by lane.
static inline V chosen(I mask, V yes, V no) { return (V)((mask & (I)yes) | (~mask & (I)no)); }

// out (width): first + the first of `count` rows, `stride` floats apart, that has the column's largest number. A NaN is
// larger than nothing, and nothing larger than it: it is found in the first row alone, as torch's embedding_bag has it.
static void peaks(const float* rows, int64_t stride, int64_t count, int64_t width, int64_t first, int64_t* out) {
  constexpr int BLOCK = 4;   // vectors side by side: whole pieces of a long row
  int64_t column = 0;
  for (; column + BLOCK * W <= width; column += BLOCK * W) {
    V best[BLOCK];
    I place[BLOCK] = {};
    for (int k = 0; k < BLOCK; k++) best[k] = load(rows + column + k * W);
    for (int64_t t = 1; t < count; t++) {
      const I now = I{} + (int32_t)t;
      for (int k = 0; k < BLOCK; k++) {
        const V row = load(rows + t * stride + column + k * W);
        const I larger = row > best[k];
        best[k] = chosen(larger, row, best[k]);
        place[k] = (larger & now) | (~larger & place[k]);
      }
    }
    for (int k = 0; k < BLOCK; k++)
      for (int i = 0; i < W; i++) out[column + k * W + i] = first + place[k][i];
  }
  for (; column < width; column++) {
    float best = rows[column];
    int64_t place = 0;
    for (int64_t t = 1; t < count; t++)
      if (rows[t * stride + column] > best) best = rows[t * stride + column], place = t;
    out[column] = first + place;
  }
}

}  // namespace unspool::UNSPOOL_NS
