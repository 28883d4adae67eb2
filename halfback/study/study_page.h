// The page of a study: curves, the cost of the result, steps over the batch size, and a table, of
// the runs that its reader chooses. It is one HTML file, needs no network, and computes medians and
// fronts itself, from the rows alone.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace halfback {

// Returns the page. Its script element with the id "data" holds {"title", "rows", "fits"}. A row is
// one of StudyRows; if all complete ones have "flops" or "parallel_flops" (of the whole run), the
// cost is in these rather than in steps times samples and in seconds. Fits, as fit_json() has them,
// are drawn beside the steps over the batch size.
std::string study_page(const std::string& title,
                       const std::vector<nlohmann::json>& rows,
                       const nlohmann::json& fits);

}  // namespace halfback
