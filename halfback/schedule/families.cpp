#include "halfback/schedule/families.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/schedule/passes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace halfback {

namespace {

using Shape = PipelineShape;

double at_most(double micro_batches, const Shape& shape) {
  return std::min<double>(micro_batches, shape.num_micro_batches);
}

double all(const Shape& shape) { return shape.num_micro_batches; }
double ranks(const Shape& shape) { return at_most(shape.num_ranks, shape); }
double limit(const Shape& shape) { return at_most(shape.memory_limit, shape); }
double all_or_ranks(const Shape& shape) { return shape.two_stage ? all(shape) : ranks(shape); }

double interleaved(const Shape& shape) {
  const int group = largest_group(shape.num_micro_batches, shape.num_ranks);
  const double stages = shape.stages_per_rank;
  return at_most(((stages - 1) * group + 2 * shape.num_ranks - 1) / stages, shape);
}

double gis(const Shape& shape) {
  const int group = largest_group(shape.num_micro_batches, shape.group_size);
  const double stages = shape.stages_per_rank;
  return at_most(((stages - 1) * group + shape.num_ranks) / stages, shape);
}

double one_f_one_b_v(const Shape& shape) {
  return at_most(one_f_one_b_v_memory(shape.num_ranks), shape);
}
double v_half(const Shape& shape) { return at_most(v_half_memory(shape.num_ranks), shape); }
double v_min(const Shape& shape) { return at_most(v_min_memory(shape.num_ranks), shape); }

// A family: its name; what people read of it; what it takes and does.
// clang-format off
std::vector<Family> two_stage_families() {
  return {
      {.name = "naive", .summary = "the whole mini-batch passes the ranks one after the other",
       .conditions = "M = 1", .idle = "2(N-1)", .peak_memory = "1", .paper = "arXiv 2405.18047",
       .micro_batches_per_rank = 0, .builder = build_naive, .peak_of = all},
      {.name = "gpipe", .summary = "all forwards, then all backwards",
       .conditions = "any M", .idle = "2(N-1)", .peak_memory = "M", .paper = "arXiv 1811.06965",
       .builder = build_gpipe, .peak_of = all},
      {.name = "1f1b", .summary = "forwards and backwards alternate; W fills the cool-down",
       .conditions = "any M", .idle = "N-1, M >= N", .peak_memory = "M", .paper = "arXiv 1806.03377, 2405.18047",
       .builder = build_one_f_one_b, .peak_of = all_or_ranks},
      {.name = "1f1b-1", .summary = "1f1b as in 2BP, one micro-batch a rank",
       .conditions = "M = N", .idle = "N-1", .peak_memory = "N", .paper = "arXiv 2405.18047",
       .builder = build_one_f_one_b_1, .peak_of = all},
      {.name = "1f1b-2", .summary = "1f1b as in 2BP, two micro-batches a rank",
       .conditions = "M = 2N", .idle = "N-1", .peak_memory = "2N", .paper = "arXiv 2405.18047",
       .micro_batches_per_rank = 2, .builder = build_one_f_one_b_2, .peak_of = all_or_ranks},
  };
}

std::vector<Family> moved_weight_families() {
  return {
      {.name = "1f1b-2-flush", .summary = "1f1b-2 with one flush of W after N backwards",
       .conditions = "M = 2N, two-stage", .idle = "N-1", .peak_memory = "2N-1",
       .micro_batches_per_rank = 2, .builder = build_one_f_one_b_2_flush,
       .peak_of = [](const Shape& shape) { return 2.0 * shape.num_ranks - 1; }},
      {.name = "1f1b-2-capped", .summary = "1f1b-2 with at most r W pending on rank r",
       .conditions = "M = 2N, two-stage", .idle = "N-1", .peak_memory = "N", .paper = "cap as in arXiv 2401.10241",
       .micro_batches_per_rank = 2, .builder = build_one_f_one_b_2_capped, .peak_of = ranks},
      {.name = "zb-h1", .summary = "1f1b with W so late that memory stays that of 1f1b with B",
       .conditions = "any M, two-stage", .idle = "N-1", .peak_memory = "N", .paper = "arXiv 2401.10241",
       .micro_batches_per_rank = 2, .builder = build_zb_h1, .peak_of = ranks},
      {.name = "zb-h2", .summary = "twice the forwards before the first I: no rank idles between its ends",
       .conditions = "any M, two-stage", .idle = "N-1; 0 a rank, M >= 2N", .peak_memory = "2N-1",
       .paper = "arXiv 2401.10241",
       .micro_batches_per_rank = 2, .builder = build_zb_h2,
       .peak_of = [](const Shape& shape) { return at_most(2.0 * shape.num_ranks - 1, shape); }},
      {.name = "zb-auto", .summary = "the best order a search finds for given times and memory",
       .conditions = "any M, two-stage", .idle = "N-1; 0 a rank, limit 2N-1", .peak_memory = "limit (N)",
       .messages = "2(vN-1)", .paper = "idea: arXiv 2401.10241",
       .micro_batches_per_rank = 2, .stages_per_rank = 1, .takes_memory_limit = true, .takes_times = true,
       .builder = build_zb_auto, .peak_of = limit},
  };
}

std::vector<Family> looped_families() {
  return {
      {.name = "interleaved-1f1b", .summary = "1f1b over v stages a rank, in groups of N micro-batches",
       .conditions = "any M", .idle = "2(N-1)/v, M >= N", .peak_memory = "((v-1)N+2N-1)/v", .messages = "2(vN-1)",
       .paper = "arXiv 2104.04473",
       .micro_batches_per_rank = 2, .stages_per_rank = 2, .builder = build_interleaved, .peak_of = interleaved},
      {.name = "gis", .summary = "interleaved-1f1b in groups of g micro-batches, fewer of them at once",
       .conditions = "any M", .idle = "(2(N-1)+(N-g)(v-1))/v", .peak_memory = "((v-1)g+N)/v", .messages = "2(vN-1)",
       .paper = "arXiv 2503.01328",
       .micro_batches_per_rank = 2, .stages_per_rank = 2, .takes_group_size = true, .builder = build_gis,
       .peak_of = gis},
      {.name = "looped-bfs", .summary = "gpipe over v stages a rank",
       .conditions = "any M", .idle = "2(N-1)/v, M >= N", .peak_memory = "M", .messages = "2(vN-1)",
       .paper = "arXiv 2211.05953",
       .stages_per_rank = 2, .builder = build_looped_bfs, .peak_of = all},
      {.name = "zb-looped", .summary = "many looped stages a rank, W where a rank would wait; a search",
       .conditions = "any M, two-stage", .idle = "(N-1)/v, M = N", .peak_memory = "limit (N)", .messages = "2(vN-1)",
       .stages_per_rank = 4, .takes_memory_limit = true, .takes_times = true, .builder = build_zb_looped,
       .peak_of = limit},
  };
}

std::vector<Family> v_families() {
  return {
      {.name = "zb-v", .summary = "two stages a rank in a V: no rank idles, at the memory of 1f1b; a search",
       .conditions = "any M, two-stage", .idle = "(N-1)/2; 0 a rank, M >= 2N", .peak_memory = "N", .messages = "4(N-1)",
       .paper = "arXiv 2405.15362",
       .micro_batches_per_rank = 2, .takes_times = true, .builder = build_zb_v, .peak_of = ranks},
      {.name = "v-half", .summary = "zb-v at half the memory",
       .conditions = "any M, two-stage", .idle = "(3N-7)/2, N odd (3N-4)/2", .peak_memory = "(N+2)/2",
       .messages = "4(N-1)", .paper = "arXiv 2405.15362",
       .micro_batches_per_rank = 2, .takes_times = true, .builder = build_v_half, .peak_of = v_half},
      {.name = "v-min", .summary = "two stages a rank in a V, in the pattern that keeps the least",
       .conditions = "any M, two-stage", .idle = "2N-5/2, 3|N 2N-7/2", .peak_memory = "(N+4)/3", .messages = "4(N-1)",
       .paper = "arXiv 2405.15362",
       .micro_batches_per_rank = 2, .builder = build_v_min, .peak_of = v_min},
      {.name = "v-search", .summary = "two stages a rank in a V, within any memory limit k; a search",
       .conditions = "any M, two-stage", .idle = "(6N-1)/2-3k, N/2 <= k < N", .peak_memory = "limit (N)",
       .messages = "4(N-1)", .paper = "arXiv 2405.15362",
       .micro_batches_per_rank = 2, .takes_memory_limit = true, .takes_times = true, .builder = build_v_search,
       .peak_of = limit},
  };
}

std::vector<Family> wave_families() {
  return {
      {.name = "1f1b-v", .summary = "two stages a rank in a V, backward in one: 2/3 of 1f1b's memory; a search",
       .conditions = "any M", .idle = "below N-1", .peak_memory = "2N/3+1", .messages = "4(N-1)",
       .paper = "arXiv 2405.15362",
       .micro_batches_per_rank = 2, .takes_times = true, .builder = build_one_f_one_b_v, .peak_of = one_f_one_b_v},
      {.name = "hanayo", .summary = "v/2 waves over the ranks; a search",
       .conditions = "any M, v even", .idle = "(N-1)/v; 0 a rank, M >= 2N", .peak_memory = "limit (N)",
       .messages = "2v(N-1)", .paper = "arXiv 2308.15762",
       .stages_per_rank = 2, .takes_memory_limit = true, .takes_times = true, .builder = build_hanayo,
       .peak_of = limit},
      {.name = "zb-wave", .summary = "zb-looped, but in waves: half of the hand-overs stay on their rank",
       .conditions = "any M, two-stage", .idle = "(N-1)/v, M = N", .peak_memory = "limit (N)", .messages = "2v(N-1)",
       .stages_per_rank = 4, .takes_memory_limit = true, .takes_times = true, .builder = build_zb_wave,
       .peak_of = limit},
      {.name = "dualpipe-v", .summary = "dualpipe folded to a V, one copy of the weights",
       .conditions = "M >= 2N", .idle = "(N-1)/2", .peak_memory = "N+1/2", .messages = "4(N-1)",
       .paper = "arXiv 2412.19437",
       .micro_batches_per_rank = 2, .builder = build_dualpipe_v,
       .peak_of = [](const Shape& shape) { return at_most(shape.num_ranks + 0.5, shape); }},
  };
}

std::vector<Family> replica_families() {
  return {
      {.name = "chimera", .summary = "two pipelines in opposite directions; a search",
       .conditions = "N even, M even", .idle = "N/2-1", .peak_memory = "N", .replicas = 2, .paper = "arXiv 2107.06925",
       .takes_times = true, .builder = build_chimera, .peak_of = ranks},
      {.name = "dualpipe", .summary = "two pipelines in opposite directions, F beside B",
       .conditions = "N even, M even, M >= 2N", .idle = "N/2-1", .peak_memory = "N+1", .replicas = 2,
       .paper = "arXiv 2412.19437",
       .micro_batches_per_rank = 2, .builder = build_dualpipe,
       .peak_of = [](const Shape& shape) { return at_most(shape.num_ranks + 1.0, shape); }},
      {.name = "bitpipe", .summary = "two V in opposite directions",
       .conditions = "N even >= 4, N divides M", .idle = "N/2-1", .peak_memory = "N", .messages = "4(N-1)",
       .replicas = 2, .paper = "arXiv 2410.19367",
       .builder = build_bitpipe, .peak_of = ranks},
      {.name = "bitpipe-split", .summary = "bitpipe with W where a rank would wait",
       .conditions = "as bitpipe, two-stage", .idle = "(N-2)/4", .peak_memory = "N", .messages = "4(N-1)",
       .replicas = 2,
       .takes_times = true, .builder = build_bitpipe_split, .peak_of = ranks},
  };
}
// clang-format on

// Throws for what is set and not taken.
void require_untouched(const Family& family, bool set, bool takes, const char* option) {
  if (set && !takes) {
    throw ConfigError(fmt::format("{}: it takes no {}; leave the option out", family.name, option));
  }
}

// Takes the size of a family with local updates into the shape.
void complete_local_size(const Family& family, Shape& shape) {
  struct Option {
    const char* name;
    int Shape::*size;
  };
  constexpr std::array<Option, 4> kOptions = {{{"--chunks", &Shape::chunks},
                                               {"--window", &Shape::window},
                                               {"--distance", &Shape::distance},
                                               {"--trained", &Shape::trained}}};
  for (const auto& [name, size] : kOptions) {
    require_untouched(family, shape.*size != 0, family.local_size == size, name);
    if (family.local_size != size) {
      continue;
    }
    const int most = shape.num_ranks - (size == &Shape::distance ? 1 : 0);
    if (shape.*size < 0 || shape.*size > std::max(most, 0)) {
      throw ConfigError(fmt::format("{}: {} {} on {} ranks; it is 1 to {}", family.name, name,
                                    shape.*size, shape.num_ranks, most));
    }
    if (shape.*size == 0) {
      shape.*size = std::min(family.natural_local_size, most);
    }
  }
}

void check_options(const Family& family, const Shape& shape) {
  require_untouched(family, shape.stages_per_rank != 0, family.stages_per_rank > 0,
                    "--stages-per-rank");
  require_untouched(family, shape.group_size != 0, family.takes_group_size, "--group-size");
  require_untouched(family, shape.memory_limit != 0.0, family.takes_memory_limit, "--memory-limit");
  require_untouched(family, shape.released_at_input != 0.0, family.takes_memory_limit,
                    "--released-at-input");
  if (shape.stages_per_rank < 0 || shape.group_size < 0) {
    throw ConfigError(fmt::format("{}: {} stages a rank in groups of {}; both must be at least 1",
                                  family.name, shape.stages_per_rank, shape.group_size));
  }
  const bool is_fraction = shape.released_at_input >= 0.0 && shape.released_at_input <= 1.0;
  if (!std::isfinite(shape.memory_limit) || shape.memory_limit < 0.0 || !is_fraction) {
    throw ConfigError(
        fmt::format("{}: a memory limit of {} micro-batches of which I frees {}; the "
                    "limit must be above 0, the part from 0 to 1",
                    family.name, shape.memory_limit, shape.released_at_input));
  }
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> kFamilies = [] {
    std::vector<Family> joined;
    for (const auto& group :
         {two_stage_families(), moved_weight_families(), looped_families(), v_families(),
          wave_families(), replica_families(), local_families()}) {
      joined.insert(joined.end(), group.begin(), group.end());
    }
    return joined;
  }();
  return kFamilies;
}

int Family::default_micro_batches(int num_ranks) const {
  const std::int64_t count = std::int64_t{micro_batches_per_rank} * num_ranks;
  return static_cast<int>(std::clamp<std::int64_t>(count, 1, kMaxIndex));
}

Shape Family::complete(Shape shape) const {
  check_options(*this, shape);
  if (shape.stages_per_rank == 0) {
    shape.stages_per_rank = stages_per_rank;
  }
  if (takes_group_size && shape.group_size == 0) {
    shape.group_size = std::max(1, shape.num_ranks);
  }
  if (takes_memory_limit && shape.memory_limit == 0.0) {
    shape.memory_limit = std::max(1, shape.num_ranks);
  }
  complete_local_size(*this, shape);
  shape.stage_updates = shape.stage_updates.value_or(stage_updates);
  return shape;
}

Schedule Family::build(const PipelineShape& shape) const {
  const PipelineShape whole = complete(shape);
  Schedule schedule = builder(whole);
  return *whole.stage_updates ? add_updates(schedule) : schedule;
}

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const Family& family : families()) {
    names.push_back(family.name);
  }
  return names;
}

const Family& family(std::string_view name) {
  const auto& all = families();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Family& f) { return f.name == name; });
  if (found == all.end()) {
    const std::vector<std::string> names = family_names();
    throw ConfigError(fmt::format("schedule: unknown family '{}'{}; known are {}",
                                  name.substr(0, 80), suggestion(name.substr(0, 80), names),
                                  fmt::join(names, ", ")));
  }
  return *found;
}

Schedule build_schedule(std::string_view name, const PipelineShape& shape) {
  return family(name).build(shape);
}

}  // namespace halfback
