// What a study says of a target that none of its runs has reached.
#pragma once

#include "halfback/study/study_file.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace halfback {

// Returns a line such as "no run reached validation accuracy 0.95; the best had 0.8931 (run 7:
// scheme greedy, seed 2)", which counts all validations; nothing if there is no target, a run is
// complete or none has ended.
std::string missed_target(const std::vector<nlohmann::json>& rows, const StudyTarget& target);

}  // namespace halfback
