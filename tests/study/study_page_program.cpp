// Prints the page of a study, for tests/python/study_page.py: study_page_program ROWS TITLE.
#include "halfback/study/fit_table.h"
#include "halfback/study/rows.h"
#include "halfback/study/study_page.h"

#include <iostream>

int main(int count, char** arguments) {
  if (count != 3) {
    return 2;
  }
  const std::vector<nlohmann::json> rows = halfback::load_rows(arguments[1]);
  std::cout << halfback::study_page(arguments[2], rows,
                                    halfback::fit_json(halfback::fits_of(rows)));
}
