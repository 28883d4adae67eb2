#include "halfback/schedule/families.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>

namespace halfback {

const std::vector<Family>& families() {
  static const std::vector<Family> kFamilies = {
      {"naive", "the whole mini-batch passes the ranks one after the other", "M = 1",
       "2(N-1)/(2N+1)", "1", "arXiv 2405.18047", 0, build_naive},
      {"gpipe", "all forwards, then all backwards", "any M", "2(N-1)/(3M+2N-2)", "M",
       "arXiv 1811.06965", 1, build_gpipe},
      {"1f1b", "forwards and backwards alternate; W fills the cool-down", "any M",
       "(N-1)/(3M+N-1), M >= N", "M", "arXiv 1806.03377, 2405.18047", 1, build_one_f_one_b},
      {"1f1b-1", "1f1b as in 2BP, one micro-batch a rank", "M = N", "(N-1)/(4N-1)", "N",
       "arXiv 2405.18047", 1, build_one_f_one_b_1},
      {"1f1b-2", "1f1b as in 2BP, two micro-batches a rank", "M = 2N", "(N-1)/(7N-1)", "2N",
       "arXiv 2405.18047", 2, build_one_f_one_b_2},
      {"1f1b-2-flush", "1f1b-2 with one flush of W after N backwards", "M = 2N, two-stage",
       "(N-1)/(7N-1)", "2N-1-r", "", 2, build_one_f_one_b_2_flush},
      {"1f1b-2-capped", "1f1b-2 with at most r W pending on rank r", "M = 2N, two-stage",
       "(N-1)/(7N-1)", "N", "cap as in arXiv 2401.10241", 2, build_one_f_one_b_2_capped},
  };
  return kFamilies;
}

int Family::default_micro_batches(int num_ranks) const {
  const std::int64_t count = std::int64_t{micro_batches_per_rank} * num_ranks;
  return static_cast<int>(std::clamp<std::int64_t>(count, 1, kMaxIndex));
}

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const Family& family : families()) {
    names.push_back(family.name);
  }
  return names;
}

Schedule build_schedule(std::string_view name, const PipelineShape& shape) {
  const auto& all = families();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Family& f) { return f.name == name; });
  if (found == all.end()) {
    const std::vector<std::string> names = family_names();
    throw ConfigError(fmt::format("schedule: unknown family '{}'{}; known are {}",
                                  name.substr(0, 80), suggestion(name.substr(0, 80), names),
                                  fmt::join(names, ", ")));
  }
  return found->build(shape);
}

}  // namespace halfback
