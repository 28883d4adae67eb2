#include "halfback/study/study_page.h"

#include "halfback/base/page/page.h"
#include "halfback/study/page/page.h"

#include <nlohmann/json.hpp>

namespace halfback {

std::string study_page(const std::string& title,
                       const std::vector<nlohmann::json>& rows,
                       const nlohmann::json& fits) {
  return with_data(kStudyPage, {{"title", title}, {"rows", rows}, {"fits", fits}});
}

}  // namespace halfback
