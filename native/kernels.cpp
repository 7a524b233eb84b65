// The kernels of one instruction set: this file is compiled once for each.
#include <cmath>

#include "axes.h"
#include "draws.h"
#include "functions.h"
#include "peaks.h"
#include "tiles.h"

namespace unspool::UNSPOOL_NS {

struct Cursor {
  float* const* row;
  int offset;
};
static inline Cursor at(const Tile& tile, const Operand& o) { return {tile.row[o.buffer], o.offset}; }

template <class F>
static inline void map(const Tile& tile, const Instr& i, F f) {
  Cursor out = at(tile, i.out), a = at(tile, i.a);
  for (int r = 0; r < tile.rows; r++) {
    float* d = out.row[r] + out.offset;
    const float* p = a.row[r] + a.offset;
    if (i.a.broadcast) {
      V v = f(splat(*p));
      int u = 0;
      for (; u + W <= i.width; u += W) store(d + u, v);
      if (u < i.width) store(d + u, v, i.width - u);
      continue;
    }
    int u = 0;
    for (; u + W <= i.width; u += W) store(d + u, f(load(p + u)));
    if (u < i.width) store(d + u, f(load(p + u, i.width - u)), i.width - u);
  }
}

template <bool A, bool B, class F>
static inline void map2(const Tile& tile, const Instr& i, F f) {
  Cursor out = at(tile, i.out), a = at(tile, i.a), b = at(tile, i.b);
  for (int r = 0; r < tile.rows; r++) {
    float* d = out.row[r] + out.offset;
    const float* p = a.row[r] + a.offset;
    const float* q = b.row[r] + b.offset;
    const V pa = A ? splat(*p) : V{}, qb = B ? splat(*q) : V{};
    int u = 0;
    for (; u + W <= i.width; u += W) store(d + u, f(A ? pa : load(p + u), B ? qb : load(q + u)));
    if (int n = i.width - u; n > 0) store(d + u, f(A ? pa : load(p + u, n), B ? qb : load(q + u, n)), n);
  }
}
template <class F>
static inline void map(const Tile& tile, const Instr& i, F f, int) {
  if (i.a.broadcast) {
    if (i.b.broadcast) map2<true, true>(tile, i, f);
    else map2<true, false>(tile, i, f);
  } else {
    if (i.b.broadcast) map2<false, true>(tile, i, f);
    else map2<false, false>(tile, i, f);
  }
}

template <bool A, bool B, bool C, class F>
static inline void map3(const Tile& tile, const Instr& i, F f) {
  Cursor out = at(tile, i.out), a = at(tile, i.a), b = at(tile, i.b), c = at(tile, i.c);
  for (int r = 0; r < tile.rows; r++) {
    float* d = out.row[r] + out.offset;
    const float *p = a.row[r] + a.offset, *q = b.row[r] + b.offset, *s = c.row[r] + c.offset;
    const V pa = A ? splat(*p) : V{}, qb = B ? splat(*q) : V{}, sc = C ? splat(*s) : V{};
    int u = 0;
    for (; u + W <= i.width; u += W)
      store(d + u, f(A ? pa : load(p + u), B ? qb : load(q + u), C ? sc : load(s + u)));
    if (int n = i.width - u; n > 0)
      store(d + u, f(A ? pa : load(p + u, n), B ? qb : load(q + u, n), C ? sc : load(s + u, n)), n);
  }
}
template <class F>
static inline void map(const Tile& tile, const Instr& i, F f, int, int) {
  const auto with_c = [&](auto a, auto b) {
    i.c.broadcast ? map3<a.value, b.value, true>(tile, i, f) : map3<a.value, b.value, false>(tile, i, f);
  };
  const auto with_b = [&](auto a) { i.b.broadcast ? with_c(a, std::true_type{}) : with_c(a, std::false_type{}); };
  i.a.broadcast ? with_b(std::true_type{}) : with_b(std::false_type{});
}

template <class F>
static inline void reduce(const Tile& tile, const Instr& i, F f) {
  Cursor out = at(tile, i.out), a = at(tile, i.a);
  Cursor b = i.b.buffer < 0 ? a : at(tile, i.b), c = i.c.buffer < 0 ? a : at(tile, i.c);
  for (int r = 0; r < tile.rows; r++)
    out.row[r][out.offset] = f(a.row[r] + a.offset, b.row[r] + b.offset, c.row[r] + c.offset, i.width);
}

// The sum over n of f(load): f takes a function that loads a vector of a row, zeros past the end.
template <class F>
static inline float summed(int n, F f) {
  V s{}, s2{};
  int u = 0;
  for (; u + 2 * W <= n; u += 2 * W) {
    s += f([u](const float* p) { return load(p + u); }, W);
    s2 += f([u](const float* p) { return load(p + u + W); }, W);
  }
  for (; u < n; u += W) {
    const int left = n - u < W ? n - u : W;
    s += f([u, left](const float* p) { return load(p + u, left); }, left);
  }
  return total(s + s2);
}

static void product(int rows, const Rows& a, int inner, const Factor& w, int first, int width, const float* const* init,
                    float* const* out) {
#if defined(__AMX_BF16__)
  if (w.form == TILED) return matmul_tiled(rows, a, inner, w, first, width, init, out);
#endif
  matmul_any(rows, a, inner, w, first, width, init, out);
}

// The columns of a member's share, then everybody's.
static void matmul_together(int rows, const Rows& a, const Instr& i, const Factor& w, const float* const* init,
                            float* const* out, Member& me) {
  const int all = panels(i.width), stride = all * 2 * W;
  const int first = all * me.rank / me.size * 2 * W, end = all * (me.rank + 1) / me.size * 2 * W;
  float* shared = me.exchange();
  const int width = (end < i.width ? end : i.width) - first;
  if (width > 0) {
    const float* start[MAX_ROWS];
    float* to[MAX_ROWS];
    for (int r = 0; r < rows; r++) {
      to[r] = shared + r * stride + first;
      if (init) start[r] = init[r] + first;
    }
    product(rows, a, i.inner, w, first, width, init ? start : nullptr, to);
  }
  me.meet();
  for (int r = 0; r < rows; r++) std::memcpy(out[r], shared + r * stride, i.width * sizeof(float));
}

// The rows in the matrix's form.
static void narrow(Rows& a, int rows, int inner, Form form) {
  static thread_local std::vector<uint32_t> space;
  a.apart = ((groups(inner, form) + W + 15) / 16 | 1) * 16;   // an odd number of cache lines
  const size_t all = a.apart * ((rows + 15) / 16 * 16) + 16;   // whole tiles, that begin with a line
  if (space.size() < all) space.resize(all);
  uint32_t* to = (uint32_t*)(((uintptr_t)space.data() + 63) / 64 * 64);
  for (int r = 0; r < rows; r++, to += a.apart) {
    a.step[r] = narrow_row(a.groups[r], inner, form == TILED ? BFLOAT16 : form, to);
    a.groups[r] = (const float*)to;
  }
}

static void matmul(const Tile& tile, const Instr& i, const Factor& w, Member* me) {
  Rows a;
  const float* init[MAX_ROWS];
  float* out[MAX_ROWS];
  for (int r = 0; r < tile.rows; r++) {
    a.groups[r] = tile.row[i.a.buffer][r] + i.a.offset;
    out[r] = tile.row[i.out.buffer][r] + i.out.offset;
    if (i.b.buffer >= 0) init[r] = tile.row[i.b.buffer][r] + i.b.offset;
  }
  const float* const* start = i.b.buffer < 0 ? nullptr : init;
  if (w.form != FLOAT32) narrow(a, tile.rows, i.inner, w.form);
  if (me) matmul_together(tile.rows, a, i, w, start, out, *me);
  else if (!w.packed)
    for (int r = 0; r < tile.rows; r++) row_by_view(a.groups[r], w.view, start ? init[r] : nullptr, out[r]);
  else product(tile.rows, a, i.inner, w, 0, i.width, start, out);
}

// f(row of out, of a, of b) for each row of the tile.
template <class F>
static inline void by_row(const Tile& tile, const Instr& i, F f) {
  Cursor out = at(tile, i.out), a = at(tile, i.a), b = i.b.buffer < 0 ? a : at(tile, i.b);
  for (int r = 0; r < tile.rows; r++) f(out.row[r] + out.offset, a.row[r] + a.offset, b.row[r] + b.offset);
}

static inline V truth(I mask) { return mask ? splat(1.f) : splat(0.f); }

static void run(const Tape& tape, const Tile& tile, const Factor* matrices, Member* me) {
  Tiles tiles;
  for (const Instr& i : tape.code) {
    switch (i.op) {
      case Op::matmul_:
        if (matrices[i.matrix].form == TILED) tiles.take();
        matmul(tile, i, matrices[i.matrix], me);
        break;
      case Op::copy_:
      case Op::stop_: map(tile, i, [](V a) { return a; }); break;
      case Op::add_: map(tile, i, [](V a, V b) { return a + b; }, 2); break;
      case Op::sub_: map(tile, i, [](V a, V b) { return a - b; }, 2); break;
      case Op::mul_: map(tile, i, [](V a, V b) { return a * b; }, 2); break;
      case Op::div_: map(tile, i, [](V a, V b) { return a / b; }, 2); break;
      case Op::max_: map(tile, i, [](V a, V b) { return ((a != a) | (a > b)) ? a : b; }, 2); break;
      case Op::min_: map(tile, i, [](V a, V b) { return ((a != a) | (a < b)) ? a : b; }, 2); break;
      case Op::gt_: map(tile, i, [](V a, V b) { return truth(a > b); }, 2); break;
      case Op::ge_: map(tile, i, [](V a, V b) { return truth(a >= b); }, 2); break;
      case Op::lt_: map(tile, i, [](V a, V b) { return truth(a < b); }, 2); break;
      case Op::le_: map(tile, i, [](V a, V b) { return truth(a <= b); }, 2); break;
      case Op::eq_: map(tile, i, [](V a, V b) { return truth(a == b); }, 2); break;
      case Op::ne_: map(tile, i, [](V a, V b) { return truth(a != b); }, 2); break;
      case Op::where_: map(tile, i, [](V a, V b, V c) { return a != 0.f ? b : c; }, 2, 3); break;
      case Op::fma_: map(tile, i, [](V a, V b, V c) { return a * b + c; }, 2, 3); break;
      case Op::neg_: map(tile, i, [](V a) { return -a; }); break;
      case Op::abs_: map(tile, i, [](V a) { return (V)((I)a & 0x7fffffff); }); break;
      case Op::exp_: map(tile, i, [](V a) { return vexp(a); }); break;
      case Op::expm1_: map(tile, i, [](V a) { return vexpm1(a); }); break;
      case Op::log_: map(tile, i, [](V a) { return vlog(a); }); break;
      case Op::tanh_: map(tile, i, [](V a) { return vtanh(a); }); break;
      case Op::sigmoid_: map(tile, i, [](V a) { return vsigmoid(a); }); break;
      case Op::sqrt_: map(tile, i, [](V a) { return vsqrt(a); }); break;
      case Op::rsqrt_: map(tile, i, [](V a) { return 1.f / vsqrt(a); }); break;
      case Op::relu_: map(tile, i, [](V a) { return a < 0.f ? splat(0.f) : a; }); break;
      case Op::softplus_: map(tile, i, [](V a) { return vsoftplus(a); }); break;
      case Op::erf_: map(tile, i, [](V a) { return verf(a); }); break;
      case Op::log1p_: map(tile, i, [](V a) { return vlog1p(a); }); break;
      case Op::sin_: map(tile, i, [](V a) { return vsin(a); }); break;
      case Op::cos_: map(tile, i, [](V a) { return vcos(a); }); break;
      // by the C library
#define UNSPOOL_EACH(name, function) \
  case Op::name##_: map(tile, i, [](V a) { return lanewise(a, [](float v) { return std::function(v); }); }); break;
      UNSPOOL_EACH(exp2, exp2) UNSPOOL_EACH(log2, log2) UNSPOOL_EACH(log10, log10) UNSPOOL_EACH(erfc, erfc)
      UNSPOOL_EACH(tan, tan) UNSPOOL_EACH(asin, asin) UNSPOOL_EACH(acos, acos) UNSPOOL_EACH(atan, atan)
      UNSPOOL_EACH(sinh, sinh) UNSPOOL_EACH(cosh, cosh) UNSPOOL_EACH(asinh, asinh) UNSPOOL_EACH(acosh, acosh)
      UNSPOOL_EACH(atanh, atanh) UNSPOOL_EACH(floor, floor) UNSPOOL_EACH(ceil, ceil) UNSPOOL_EACH(round, nearbyint)
      UNSPOOL_EACH(trunc, trunc)
#undef UNSPOOL_EACH
      case Op::sign_: map(tile, i, [](V a) { return truth(a > 0.f) - truth(a < 0.f); }); break;
#define UNSPOOL_EACH(name)                                                                                    \
  case Op::name##_:                                                                                           \
    map(tile, i, [](V a, V b) { return lanewise(a, b, [](float p, float q) { return std::name(p, q); }); }, 2); \
    break;
      UNSPOOL_EACH(pow) UNSPOOL_EACH(atan2) UNSPOOL_EACH(hypot) UNSPOOL_EACH(fmod)
#undef UNSPOOL_EACH
      case Op::remainder_: map(tile, i, [](V a, V b) { return vremainder(a, b); }, 2); break;
      case Op::logaddexp_: map(tile, i, [](V a, V b) { return vlogaddexp(a, b); }, 2); break;
      case Op::xlogy_: map(tile, i, [](V a, V b) { return vxlogy(a, b); }, 2); break;
      case Op::clamp_: map(tile, i, [](V a, V b, V c) { return vclamp(a, b, c); }, 2, 3); break;
      case Op::dtanh_: map(tile, i, [](V g, V y) { return g * (1.f - y * y); }, 2); break;
      case Op::dsigmoid_: map(tile, i, [](V g, V y) { return g * (y * (1.f - y)); }, 2); break;
      case Op::norm_: map(tile, i, [](V a, V b, V c) { return (a - b) * c; }, 2, 3); break;
      case Op::sum_:
        reduce(tile, i, [](const float* a, const float*, const float*, int n) {
          return summed(n, [=](auto of, int) { return of(a); });
        });
        break;
      case Op::mean_:
        reduce(tile, i, [](const float* a, const float*, const float*, int n) {
          return summed(n, [=](auto of, int) { return of(a); }) / n;
        });
        break;
      case Op::dot_:
        reduce(tile, i, [](const float* a, const float* b, const float*, int n) {
          return summed(n, [=](auto of, int) { return of(a) * of(b); });
        });
        break;
      case Op::rstd_:
        reduce(tile, i, [](const float* a, const float* mean, const float* epsilon, int n) {
          const V m = splat(*mean);
          const float squares = summed(n, [=](auto of, int left) {
            const V d = of(a) - (left == W ? m : first(m, left));
            return d * d;
          });
          return 1.f / std::sqrt(squares / n + *epsilon);
        });
        break;
      case Op::amax_:
        reduce(tile, i, [](const float* a, const float*, const float*, int n) {
          float m = a[0];
          for (int u = 1; u < n; u++) m = a[u] > m || a[u] != a[u] ? a[u] : m;
          return m;
        });
        break;
      case Op::take_: by_row(tile, i, [&](float* d, const float* a, const float*) { take(a, i.pattern, d); }); break;
      case Op::put_:
        by_row(tile, i, [&](float* d, const float* a, const float*) { put(a, i.pattern, d, i.width); });
        break;
      case Op::gmax_:
        by_row(tile, i, [&](float* d, const float* a, const float*) { gmax(a, i.width, i.pattern[0], d); });
        break;
      case Op::order_:
        by_row(tile, i, [&](float* d, const float* a, const float*) { order(a, i.width, i.pattern, d); });
        break;
      case Op::pick_:
        by_row(tile, i, [&](float* d, const float* a, const float* b) { pick(a, b, i.width, i.pattern[0], d); });
        break;
      case Op::drop_:
        by_row(tile, i, [&](float* d, const float* a, const float* b) { drop(a, b, i.pattern[0], i.width, d); });
        break;
      case Op::contract_:
        by_row(tile, i, [&](float* d, const float* a, const float* b) { contract(a, b, i.pattern, d); });
        break;
    }
  }
}

// Multiply-adds a second, in FLOP/s, of one thread with every sum in a register.
template <Form FORM>
static double peak_of(double seconds) {
  constexpr int ROUNDS = 20000;
  V acc[8];
  for (int i = 0; i < 8; i++) acc[i] = splat(0.5f + i);
  V a = splat(0.999f), b = splat(0.001f);
  const double found = rate(seconds, 2.0 * W * 8 * (FORM == FLOAT32 ? 1 : 2) * ROUNDS, [&] {
    for (int k = 0; k < ROUNDS; k++)
      for (int i = 0; i < 8; i++) acc[i] = FORM == FLOAT32 ? acc[i] * a + b : multiply_add<FORM>(acc[i], a, b);
  });
  V s{};
  for (int i = 0; i < 8; i++) s += acc[i];
  volatile float sink = total(s);
  (void)sink;
  return found;
}
static double peak(double seconds, Form form) {
  return form == FLOAT32 ? peak_of<FLOAT32>(seconds) : peak_of<BFLOAT16>(seconds);
}

#define UNSPOOL_STRING_(x) #x
#define UNSPOOL_STRING(x) UNSPOOL_STRING_(x)
extern const Kernels table;
const Kernels table = {UNSPOOL_STRING(UNSPOOL_NS), W, TILE_ROWS, run, packed_size, panels, pack,
                       sums_workspace, sums,
                       &keep_mask, &peaks,
                       [](const AdamRows& a, const AdamStep& s) { a.wide ? adam_step<double>(a, s) : adam_step<float>(a, s); },
                       [](const AdamRows& a, const AdamGap& g) {
                         a.wide ? adam_catch_up<double>(a, g) : adam_catch_up<float>(a, g);
                       },
                       peak};
#if defined(__AMX_BF16__)
extern const Kernels tiled;
const Kernels tiled = [] {
  Kernels kernels = table;
  kernels.name = "amx_bf16";
  kernels.sums_workspace = tiled_workspace;
  kernels.sums = sums_tiled;
  kernels.bfloat16 = TILED;
  kernels.peak = [](double seconds, Form form) { return form == FLOAT32 ? peak(seconds, form) : tiled_peak(seconds); };
  return kernels;
}();
#endif

}  // namespace unspool::UNSPOOL_NS
