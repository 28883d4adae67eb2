// Torn and altered checkpoints are refused by name, and a run goes on from the newest complete one,
// whenever its process was killed.
#include "halfback/checkpoint/kept_checkpoints.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"
#include "halfback/checkpoint/checkpoint.h"
#include "halfback/checkpoint/checkpoint_save.h"
#include "halfback/checkpoint/manifest.h"
#include "tests/support/checkpoints.h"
#include "tests/support/errors.h"
#include "tests/support/no_exchange.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <functional>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace halfback::testing {
namespace {

namespace fs = std::filesystem;

class KeptCheckpointsTest : public ::testing::Test {
 protected:
  // Writes the next checkpoint of a run.
  void save(std::int64_t step, int keep) {
    tiny_.draw(static_cast<std::uint64_t>(step));
    save_checkpoint(path_, TinyStage::config(), tiny_.list(), {.step = step, .optimizer = "adamw"},
                    {.keep = keep, .previous_step = previous_});
    previous_ = step;
  }

  std::vector<std::int64_t> kept_steps() const {
    std::vector<std::int64_t> steps;
    for (const KeptCheckpoint& kept : kept_checkpoints(path_)) {
      EXPECT_EQ(read_manifest(kept.path).step, kept.step);
      require_complete(kept.path);
      steps.push_back(kept.step);
    }
    return steps;
  }

  std::string refusal() const {
    return text_of_thrown<FileError>([&] { require_complete(path_); });
  }

  TinyStage tiny_;
  std::optional<std::int64_t> previous_;
  TemporaryDirectory directory_;
  fs::path path_ = directory_ / "run";
};

using Steps = std::vector<std::int64_t>;

TEST_F(KeptCheckpointsTest, KeepsTheNewestAndThoseBeforeIt) {
  for (const std::int64_t step : {8, 9, 10, 11}) {
    save(step, 3);
  }
  EXPECT_EQ(kept_steps(), (Steps{10, 9}));
  EXPECT_EQ(read_manifest(path_).step, 11);
  EXPECT_EQ(num_entries(directory_.path()), 3);
  save(12, 2);
  EXPECT_EQ(kept_steps(), (Steps{11}));
  save(13, 1);
  EXPECT_EQ(num_entries(directory_.path()), 1);
}

TEST_F(KeptCheckpointsTest, KeepsNoneOfAnotherRun) {
  for (const std::int64_t step : {100, 200, 300}) {
    save(step, 3);
  }
  previous_ = std::nullopt;
  save(150, 3);
  EXPECT_EQ(kept_steps(), Steps());
  EXPECT_EQ(read_manifest(path_).step, 150);
}

TEST_F(KeptCheckpointsTest, OneThatWasNotGoneOnFromIsNotKept) {
  for (const std::int64_t step : {100, 200, 300}) {
    save(step, 3);
  }
  previous_ = 100;
  save(250, 3);
  EXPECT_EQ(kept_steps(), (Steps{100}));
}

TEST_F(KeptCheckpointsTest, LeavesAloneWhatIsNoCheckpointOfTheRun) {
  fs::create_directories(directory_ / "run.step-5");
  spit(directory_ / "run.step-5" / "notes.txt", "mine");
  for (const char* other : {"run.step-007", "run.step-x", "other.step-1", "run.step-6.txt"}) {
    fs::create_directory(directory_ / other);
    spit(directory_ / other / "config.json", "{}");
  }
  save(10, 1);
  EXPECT_EQ(num_entries(directory_.path()), 6);
  EXPECT_EQ(kept_steps(), Steps());
}

TEST_F(KeptCheckpointsTest, KeepsBesideWhatALinkPointsTo) {
  fs::create_directory(directory_ / "disk");
  fs::create_directory(directory_ / "disk/real");
  fs::create_symlink("disk/real", path_);
  save(1, 2);
  save(2, 2);
  EXPECT_TRUE(fs::is_symlink(path_));
  EXPECT_EQ(kept_steps(), (Steps{1}));
  EXPECT_TRUE(fs::exists(directory_ / "disk/real.step-1"));
  EXPECT_EQ(find_resume_point(path_).directory, path_);
}

// Ways to damage a file.
const std::vector<std::pair<const char*, std::function<void(const fs::path&)>>> kDamages = {
    {"truncated", [](const fs::path& file) { fs::resize_file(file, fs::file_size(file) - 1); }},
    {"emptied", [](const fs::path& file) { fs::resize_file(file, 0); }},
    {"longer", [](const fs::path& file) { spit(file, slurp(file) + "x"); }},
    {"altered",
     [](const fs::path& file) {
       std::string bytes = slurp(file);
       bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
       spit(file, bytes);
     }},
    {"deleted", [](const fs::path& file) { fs::remove(file); }},
};

TEST_F(KeptCheckpointsTest, DamageToAnyFileIsRefusedByItsNameAndTheOneBeforeIsUsed) {
  save(1, 2);
  save(2, 2);
  EXPECT_EQ(find_resume_point(path_).directory, path_);
  EXPECT_EQ(find_resume_point(path_).note, "");
  fs::copy(path_, directory_ / "whole");
  for (const auto& [how, damage] : kDamages) {
    for (const fs::directory_entry& entry : fs::directory_iterator(directory_ / "whole")) {
      const fs::path file = path_ / entry.path().filename();
      damage(file);
      EXPECT_EQ(refusal().find(file.string() + ": "), 0U) << how << ": " << refusal();
      const ResumePoint point = find_resume_point(path_);
      EXPECT_EQ(point.directory, kept_path(path_, 1)) << how;
      EXPECT_EQ(point.note, refusal() + "; the run resumes from " + point.directory.string());
      fs::copy(entry.path(), file, fs::copy_options::overwrite_existing);
    }
  }
  require_complete(path_);
}

TEST_F(KeptCheckpointsTest, SaysWhatIsWrong) {
  save(1, 1);
  const fs::path model = path_ / "model.safetensors";
  const std::string whole = slurp(model);
  const FileSummary summary = read_manifest(path_).files.at("model.safetensors");
  kDamages[3].second(model);
  EXPECT_TRUE(contains(refusal(), fmt::format("expected {:08x}, of what was written; the file is "
                                              "altered",
                                              summary.crc32)))
      << refusal();
  EXPECT_TRUE(contains(refusal(), "model.safetensors: checksum ")) << refusal();
  spit(model, whole.substr(0, 1000));
  EXPECT_TRUE(contains(refusal(), fmt::format("1000 bytes; expected {}, as were written; the file "
                                              "is torn",
                                              whole.size())))
      << refusal();
  fs::remove(model);
  EXPECT_TRUE(contains(refusal(), "model.safetensors: cannot open: No such file")) << refusal();
}

TEST_F(KeptCheckpointsTest, RefusesAListOfFilesThatIsNotOurs) {
  save(1, 1);
  const nlohmann::json whole = nlohmann::json::parse(slurp(path_ / "checkpoint.json"));
  const auto error_of = [&](const std::function<void(nlohmann::json&)>& change) {
    nlohmann::json json = whole;
    change(json);
    spit(path_ / "checkpoint.json", json.dump(2) + "\n");
    return refusal();
  };
  EXPECT_TRUE(contains(error_of([](auto& json) { json["version"] = 2; }),
                       "checkpoint.json: version 2; expected 1; use the release that wrote it"));
  EXPECT_TRUE(
      contains(error_of([](auto& json) { json.erase("files"); }),
               "expected the list of files that train writes; the file is torn or altered"));
  EXPECT_TRUE(contains(error_of([](auto& json) {
                         json["files"] = {{"../a", {{"bytes", 1}}}};
                       }),
                       "\"../a\" is not the name of a file in the same directory"));
  for (const char* key : {"step", "crc32"}) {
    EXPECT_TRUE(contains(error_of([&](auto& json) { json[key] = 3; }),
                         "checkpoint.json: another text than its checksum says"));
  }
  EXPECT_TRUE(contains(error_of([](auto& json) { json["files"].erase("config.json"); }),
                       "checkpoint.json: another text than its checksum says"));
  for (const char* text : {"", "[]", "{}", "{\"version\": 1}"}) {
    spit(path_ / "checkpoint.json", text);
    EXPECT_EQ(refusal().find((path_ / "checkpoint.json").string() + ": "), 0U) << refusal();
  }
}

TEST_F(KeptCheckpointsTest, AModelAloneIsCheckedWithoutTheStateOfTraining) {
  save(1, 1);
  const fs::path state = path_ / "training_state.safetensors";
  fs::resize_file(state, 10);
  require_complete_model(path_);
  kDamages[3].second(path_ / "model.safetensors");
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { require_complete_model(path_); }), "checksum"));
  fs::remove(path_ / "checkpoint.json");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { require_complete_model(path_); }),
                       "checkpoint.json: cannot open"));
  fs::remove(path_ / "training_state.json");
  require_complete_model(path_);  // as somebody else would have written it
}

TEST_F(KeptCheckpointsTest, SaysOfEachWhyNoneIsComplete) {
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { find_resume_point(path_); }),
                       "run/checkpoint.json: cannot open: No such file or directory; check"));
  save(1, 2);
  save(2, 2);
  fs::remove_all(path_);
  EXPECT_EQ(find_resume_point(path_).directory, kept_path(path_, 1));
  kDamages[3].second(kept_path(path_, 1) / "config.json");
  const std::string text = text_of_thrown<FileError>([&] { find_resume_point(path_); });
  EXPECT_TRUE(contains(text, "run: none of 2 checkpoints is complete: ")) << text;
  EXPECT_TRUE(contains(text, "run/checkpoint.json: cannot open: No such file")) << text;
  EXPECT_TRUE(contains(text, "run.step-1/config.json: checksum ")) << text;
}

// Where the file system cannot exchange two names, there is a moment without DIR.
TEST_F(KeptCheckpointsTest, APlaceThatIsEmptyForAMomentIsNoLoss) {
  save(1, 1);
  fs::rename(path_, kept_path(path_, 1));
  EXPECT_EQ(find_resume_point(path_).directory, kept_path(path_, 1));
  save(2, 1);
  EXPECT_EQ(num_entries(directory_.path()), 1);
}

// Writes checkpoints 2, 3, ... in a child, which says so through a pipe, and kills it at some
// moment of a writing.
void kill_a_writer(const std::function<void(std::int64_t)>& save,
                   bool exchanges,
                   std::uint64_t round) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (!exchanges) {
      forbid_exchange();
    }
    for (std::int64_t step = 2;; ++step) {
      save(step);
      if (::write(ends[1], "s", 1) != 1) {
        ::_exit(1);
      }
    }
  }
  using Clock = std::chrono::steady_clock;
  std::array<Clock::time_point, 2> written;
  for (Clock::time_point& time : written) {
    char byte = 0;
    ASSERT_EQ(::read(ends[0], &byte, 1), 1);
    time = Clock::now();
  }
  const double part = to_unit_interval(mixed_bits({round}));
  std::this_thread::sleep_for((written[1] - written[0]) * part);
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  ::close(ends[0]);
  ::close(ends[1]);
}

constexpr std::uint64_t kRounds = 12;

TEST_F(KeptCheckpointsTest, AProcessThatIsKilledAtAnyTimeLeavesACompleteOne) {
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    const int keep = 1 + static_cast<int>(round % 2);
    const bool exchanges = round % 4 < 2;
    fs::remove_all(directory_.path());
    fs::create_directory(directory_.path());
    previous_ = std::nullopt;
    save(1, keep);
    kill_a_writer([&](std::int64_t step) { save(step, keep); }, exchanges, round);
    const ResumePoint point = find_resume_point(path_);
    if (exchanges) {
      EXPECT_EQ(point.note, "") << "the newest is not complete";
    } else if (point.directory != path_) {
      EXPECT_TRUE(contains(point.note, "run/checkpoint.json: cannot open: No such file"));
    }
    TinyStage loaded(99);
    load_parameters(point.directory, loaded.list());
    const std::int64_t step = load_training_state(point.directory, loaded.list(), "adamw").step;
    EXPECT_GE(step, 3) << "one that was in place is lost";
    tiny_.draw(static_cast<std::uint64_t>(step));
    EXPECT_TRUE(loaded.stage().store().values().equal(tiny_.stage().store().values()));
    kept_steps();
    previous_ = step;
    save(step + 1, keep);
    EXPECT_LE(num_entries(directory_.path()), keep) << "something is left over";
  }
}

}  // namespace
}  // namespace halfback::testing
