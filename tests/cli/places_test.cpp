#include "cli/places.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace halfback::cli {
namespace {

namespace fs = std::filesystem;

class PlacesTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (directory_ / name).string(); }

  static std::string verdict(const Places& places) {
    try {
      require_apart(places);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  }

  TemporaryDirectory directory_;
};

const std::vector<std::pair<std::string, std::string Places::*>> kOptions = {
    {"--checkpoint", &Places::checkpoint},
    {"--report", &Places::report},
    {"--log-dir", &Places::log_directory},
    {"--data", &Places::data},
    {"--initial", &Places::initial}};

TEST_F(PlacesTest, EveryPairIsDecided) {
  fs::create_directories(directory_ / "run/deep");
  fs::create_symlink("run", directory_ / "link");
  struct Case {
    std::string name;
    std::set<std::string> lies_in;  // "run", where that is of one of these options
    bool holds_run = false;
  };
  const std::vector<Case> cases = {{"run", {"--checkpoint"}, true},
                                   {"run/", {"--checkpoint"}, true},
                                   {"link", {"--checkpoint"}, true},
                                   {"other/../run", {"--checkpoint"}, true},
                                   {".", {}, true},
                                   {"run/deep", {"--checkpoint"}},
                                   {"link/new", {"--checkpoint"}},
                                   {"run/metrics.jsonl", {"--checkpoint", "--report"}},
                                   {"link/events.out.tfevents.1", {"--checkpoint", "--report"}},
                                   {"run/process_0.log", {"--checkpoint", "--log-dir"}},
                                   {"run.step-5", {"--checkpoint"}},
                                   {"run.step-5/deep", {"--checkpoint"}},
                                   {"run.tmp.7", {"--checkpoint"}},
                                   {"run2", {}},
                                   {"running/run", {}}};
  for (const auto& [one, one_path] : kOptions) {
    for (const auto& [other, other_path] : kOptions) {
      for (const Case& pair : cases) {
        if (other == one) {
          continue;
        }
        Places places;
        places.*one_path = path("run");
        places.*other_path = path(pair.name);
        const std::string text = verdict(places);
        EXPECT_EQ(!text.empty(),
                  pair.lies_in.count(one) > 0 || (pair.holds_run && other == "--checkpoint"))
            << one << " run, " << other << " " << pair.name << "\n"
            << text;
        EXPECT_TRUE(text.empty() || (contains(text, one) && contains(text, other))) << text;
      }
    }
  }
}

TEST_F(PlacesTest, SaysWhatClashesAndWhatToDo) {
  EXPECT_EQ(verdict({.checkpoint = path("run"), .initial = path("run.step-5")}),
            "--initial " + path("run.step-5") + ": lies in --checkpoint " + path("run") +
                ", which each checkpoint replaces; choose another place for one of them");
  EXPECT_EQ(verdict({.report = path("run"), .data = path("run/config.toml")}),
            "--data " + path("run/config.toml") + ": lies in --report " + path("run") +
                ", whose file of that name a run writes; choose another place for one of them");
}

TEST_F(PlacesTest, RelativePathsMeetAbsoluteOnes) {
  const std::string here = fs::current_path().string();
  EXPECT_NE(verdict({.checkpoint = "run", .data = here + "/run/text.txt"}), "");
  EXPECT_EQ(verdict({.checkpoint = "run", .data = here + "/text.txt"}), "");
  EXPECT_EQ(verdict({.checkpoint = "", .report = "", .data = "text.txt"}), "");
}

}  // namespace
}  // namespace halfback::cli
