// Products of bfloat16 in AMX's tiles of 16 rows by 64 bytes (Intel's manual, volume 1, chapter 18). TDPBF16PS multiplies 16
// rows of 16 pairs by 16 columns: it adds the 16 products of first numbers, those of second ones, both sums, and that
// to the result, subnormal numbers being zero. So a sum is made 32 numbers at a time, in an order that depends on
// nothing but its length.
#pragma once
#include "outer.h"

namespace unspool::UNSPOOL_NS {
#if defined(__AMX_BF16__)

constexpr int SIDE = 16;              // of a tile: rows; sums or pairs of each
static_assert(TILED_ROWS == 2 * SIDE && W == SIDE);
constexpr int TILED_TOKENS = 256;     // tokens at most whose rows are laid out together for sums over them

struct alignas(64) TileShapes {
  uint8_t palette = 0, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};

// The thread's tiles, from `take` on; afterwards they are as they were found. Setting them takes 70 ns.
class Tiles {
 public:
  Tiles() = default;
  Tiles(const Tiles&) = delete;
  void take() {
    if (taken_) return;
    taken_ = true;
    __asm__ volatile("sttilecfg %0" : "=m"(before_));
    static constexpr TileShapes whole = [] {
      TileShapes shapes;
      shapes.palette = 1;
      for (int i = 0; i < 8; i++) shapes.bytes[i] = 64, shapes.rows[i] = SIDE;
      return shapes;
    }();
    __asm__ volatile("ldtilecfg %0" : : "m"(whole));
  }
  ~Tiles() {
    if (!taken_) return;
    if (before_.palette) __asm__ volatile("ldtilecfg %0" : : "m"(before_));
    else _tile_release();
  }

 private:
  bool taken_ = false;
  TileShapes before_;
};

// What was written before is read by the tiles after: GCC's functions for tiles do not say that they read memory.
static inline void written() { __asm__ volatile("" : : : "memory"); }

// R by C tiles of sums from a pair of rows of tiles. Distances between rows are bytes.
template <int R, int C>
struct TileSums {
  static void clear() {
    _tile_zero(0);
    if constexpr (C == 2) _tile_zero(1);
    if constexpr (R == 2) _tile_zero(2);
    if constexpr (R == 2 && C == 2) _tile_zero(3);
  }
  static void load(const float* sums, int64_t apart) {
    _tile_loadd(0, sums, apart);
    if constexpr (C == 2) _tile_loadd(1, sums + SIDE, apart);
    if constexpr (R == 2) _tile_loadd(2, (const char*)sums + SIDE * apart, apart);
    if constexpr (R == 2 && C == 2) _tile_loadd(3, (const char*)sums + SIDE * apart + 64, apart);
  }
  static void store(float* sums, int64_t apart) {
    _tile_stored(0, sums, apart);
    if constexpr (C == 2) _tile_stored(1, sums + SIDE, apart);
    if constexpr (R == 2) _tile_stored(2, (char*)sums + SIDE * apart, apart);
    if constexpr (R == 2 && C == 2) _tile_stored(3, (char*)sums + SIDE * apart + 64, apart);
  }
  // += rows of a by columns of b, over `count` tiles.
  static void add(const float* rows, int64_t rows_apart, const float* columns, int64_t columns_apart, int count) {
    const char *a = (const char*)rows, *b = (const char*)columns;
    for (int k = 0; k < count; k++, a += 64, b += SIDE * columns_apart) {
      _tile_loadd(4, a, rows_apart);
      _tile_loadd(6, b, columns_apart);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (C == 2) {
        _tile_loadd(7, b + 64, columns_apart);
        _tile_dpbf16ps(1, 4, 7);
      }
      if constexpr (R == 2) {
        _tile_loadd(5, a + SIDE * rows_apart, rows_apart);
        _tile_dpbf16ps(2, 5, 6);
        if constexpr (C == 2) _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
};

// f(TileSums) for so many rows and columns, up to 32 of each.
template <class F>
static inline void by_size(int rows, int columns, F f) {
  if (rows <= SIDE) columns <= SIDE ? f(TileSums<1, 1>{}) : f(TileSums<1, 2>{});
  else columns <= SIDE ? f(TileSums<2, 1>{}) : f(TileSums<2, 2>{});
}

// Rows by a packed matrix, as matmul_any. The rows lie a.apart numbers apart, whole tiles of them.
static void matmul_tiled(int rows, const Rows& a, int inner, const Factor& m, int first, int width,
                         const float* const* init, float* const* out) {
  const int groups = unspool::groups(inner, TILED);
  const float* w = m.packed + (int64_t)first * groups;
  alignas(64) float sums[2 * SIDE][2 * SIDE];
  written();
  for (int n = 0; n < width; n += 2 * SIDE) {
    const int left = width - n, columns = left > SIDE ? 2 * SIDE : SIDE, valid = left < columns ? left : columns;
    for (int r0 = 0; r0 < rows; r0 += 2 * SIDE) {
      const int some = rows - r0 < 2 * SIDE ? rows - r0 : 2 * SIDE;
      by_size(some, columns, [&](auto tiles) {
        tiles.clear();
        tiles.add(a.groups[r0], a.apart * 4, w, columns * 4, groups / SIDE);
        tiles.store(sums[0], sizeof sums[0]);
      });
      for (int r = 0; r < some; r++)
        for (int c = 0; c < valid; c += SIDE) {
          const int count = valid - c < SIDE ? valid - c : SIDE;
          const V sum = load(sums[r] + c);
          store(out[r0 + r] + n + c, init ? sum + load(init[r0 + r] + n + c, count) : sum, count);
        }
    }
    w += (int64_t)groups * columns;
  }
}

static inline int64_t tiled_stride(int64_t pairs) { return ((pairs + SIDE - 1) / SIDE | 1) * SIDE; }   // an odd number of cache lines

// Columns of rows of tokens as rows of pairs of tokens: out (columns rounded up, pairs rounded up), `stride` apart.
static void turn_pairs(const float* const* rows, int tokens, int32_t at, int32_t columns, float* out, int64_t stride) {
  for (int t = 0; t < tokens; t += 2 * SIDE)
    for (int32_t u = 0; u < columns; u += SIDE) {
      float pairs[SIDE * SIDE];
      const int32_t n = columns - u < SIDE ? columns - u : SIDE;
      for (int p = 0; p < SIDE; p++) {
        const auto read = [&](int token) { return token < tokens ? load(rows[token] + at + u, n) : V{}; };
        store(pairs + p * SIDE, pair(read(t + 2 * p), read(t + 2 * p + 1)));
      }
      transpose(pairs, SIDE, out + u * stride + t / 2, stride);
    }
}

// Columns of rows of tokens as panels of pairs, as a packed matrix has them, `pairs` rounded up.
static void pack_pairs(const float* const* rows, int tokens, int32_t at, int32_t columns, int pairs, float* out) {
  for (int32_t n = 0; n < columns; n += 2 * W) {
    const int32_t left = columns - n, width = left > W ? 2 * W : W;
    for (int p = 0; p < pairs; p++, out += width) {
      const auto row = [&](int token) { return token < tokens ? rows[token] + at + n : nullptr; };
      pair_rows(row(2 * p), row(2 * p + 1), left < width ? left : width, out);
    }
  }
}

// c (rows, n) += the product of laid out rows and panels, over `pairs` of tokens.
static void outer_tiled(const float* rows, int64_t stride, const float* panels, int pairs, float* c, int64_t c_stride,
                        int m, int32_t width) {
  alignas(64) float edge[2 * SIDE][2 * SIDE];
  for (int32_t n = 0; n < width; n += 2 * SIDE) {
    const int left = width - n, columns = left > SIDE ? 2 * SIDE : SIDE, valid = left < columns ? left : columns;
    const bool whole = m % SIDE == 0 && valid % SIDE == 0;
    if (!whole)
      for (int r = 0; r < m; r++)
        for (int i = 0; i < valid; i += SIDE) {
          const int count = valid - i < SIDE ? valid - i : SIDE;
          store(edge[r] + i, load(c + r * c_stride + n + i, count));
        }
    written();
    float* const sums = whole ? c + n : edge[0];
    const int64_t apart = whole ? c_stride * 4 : sizeof edge[0];
    by_size(m, columns, [&](auto tiles) {
      tiles.load(sums, apart);
      tiles.add(rows, stride * 4, panels, columns * 4, pairs / SIDE);
      tiles.store(sums, apart);
    });
    if (!whole)
      for (int r = 0; r < m; r++)
        for (int i = 0; i < valid; i += SIDE) {
          const int count = valid - i < SIDE ? valid - i : SIDE;
          store(c + r * c_stride + n + i, load(edge[r] + i), count);
        }
    panels += (int64_t)pairs * columns;
  }
}

struct Span {                         // of columns
  int32_t first, last;
};
// The columns of a that products read, of those from `first` to `last`.
static inline Span read_by_products(const Sums& s, int32_t first, int32_t last) {
  Span span{last, first};
  for (const Outer& o : s.products) {
    const int32_t low = o.a_offset > first ? o.a_offset : first, high = o.a_offset + o.m < last ? o.a_offset + o.m : last;
    if (low >= high) continue;
    span = {low < span.first ? low : span.first, high > span.last ? high : span.last};
  }
  return span;
}

static int64_t tiled_workspace(const Sums& s) {
  if (s.form != TILED) return sums_workspace(s);
  int64_t columns = 0, panels = 0;
  for (const Outer& o : s.products) {
    columns = o.a_offset + o.m > columns ? o.a_offset + o.m : columns;
    panels = o.n > panels ? o.n : panels;
  }
  return (columns + 3 * SIDE) * tiled_stride(TILED_TOKENS / 2) + (panels + 2 * W) * (TILED_TOKENS / 2);
}

// The products of a block of tokens, from t0 on.
static void products_tiled(const Sums& s, const Span& span, int64_t t0, int tokens, int32_t first, int32_t last,
                           float* workspace) {
  const int pairs = (tokens + 2 * SIDE - 1) / (2 * SIDE) * SIDE;
  const int64_t stride = tiled_stride(pairs);
  float* panels = workspace + (span.last - span.first + 3 * SIDE) * stride;
  turn_pairs(s.a + t0, tokens, span.first, span.last - span.first, workspace, stride);
  for (const Outer& o : s.products) {
    const int32_t low = first > o.a_offset ? first : o.a_offset, high = last < o.a_offset + o.m ? last : o.a_offset + o.m;
    if (low >= high) continue;
    pack_pairs(o.b + t0, tokens, o.b_offset, o.n, pairs, panels);
    for (int32_t u = low; u < high; u += 2 * SIDE)
      outer_tiled(workspace + (u - span.first) * stride, stride, panels, pairs, o.c + (u - o.a_offset) * o.c_stride,
                  o.c_stride, high - u < 2 * SIDE ? high - u : 2 * SIDE, o.n);
  }
}

// As sums, of any form.
static void sums_tiled(const Sums& s, int32_t first, int32_t last, float* workspace) {
  if (s.form != TILED) return sums(s, first, last, workspace);
  const Span span = read_by_products(s, first, last);
  Tiles tiles;
  tiles.take();
  by_block(s.tokens, TILED_TOKENS, [&](int64_t t0, int tokens) {
    if (span.first < span.last) products_tiled(s, span, t0, tokens, first, last, workspace);
    column_sums(s, t0, tokens, first, last);
  });
}

// Multiply-adds a second, in FLOP/s, of one thread with every number in a tile.
static double tiled_peak(double seconds) {
  constexpr int ROUNDS = 1000;
  Tiles tiles;
  tiles.take();
  return rate(seconds, 2.0 * 4 * SIDE * SIDE * 2 * SIDE * ROUNDS, [] {
    for (int k = 0; k < ROUNDS; k++) {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  });
}

#else
struct Tiles {
  void take() {}
};
#endif
}  // namespace unspool::UNSPOOL_NS
