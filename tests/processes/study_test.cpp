// The verb study, with the real binary: its runs are processes of it.
#include "tests/support/idx_files.h"
#include "tests/support/process_training.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace halfback::testing {
namespace {

using Json = nlohmann::json;

class StudyTest : public ProcessTrainingTest {
 protected:
  // Writes a study of two schemes by two seeds.
  void file(const std::string& more = "", const std::string& run = "", int steps = 20) const {
    spit(directory_ / "a.toml",
         "[run]\ndata = \"" + path("text.txt") +
             "\"\nlayers = 2\nwidth = 16\nheads = 2\nhidden = 24\nsequence = 16\nbatch-size = 4\n"
             "micro-batches = 2\nranks = 2\nthreads = 1\nclip-scope = \"stage\"\n"
             "evaluate-every = 5\nsteps = " +
             std::to_string(steps) + "\n" + run +
             "[grid]\nscheme = [\"backprop\", {name = \"layers\", scheme = \"greedy\"}]\n" +
             "seed = [1, 2]\n" + more);
  }

  std::string study(const std::string& output, const std::string& more = "") const {
    return "study " + path("a.toml") + " --output " + path(output) + " " + more;
  }

  // Returns the rows by run, without what depends on the clock.
  std::map<int, Json> rows(const std::string& output) const {
    std::map<int, Json> all;
    std::istringstream lines(slurp(directory_ / output / "rows.jsonl"));
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
      Json row = Json::parse(line);
      row.erase("seconds");
      row.erase("step_seconds");
      const int run = row.at("run");
      EXPECT_TRUE(all.emplace(run, row).second) << "twice: " << line;
    }
    return all;
  }

  static std::string refusal(const std::string& arguments) {
    const CommandResult result = run_halfback(arguments + " 2>&1 >/dev/null");
    EXPECT_EQ(result.exit_code, 2) << arguments;
    return result.output;
  }
};

TEST_F(StudyTest, RunsAllCombinationsAndMakesATable) {
  file();
  const std::string text = output_of(study("a"));
  const std::map<int, Json> found = rows("a");
  ASSERT_EQ(found.size(), 4U);
  const Json& greedy = found.at(3);
  EXPECT_EQ(greedy.at("place"), Json::parse(R"([["scheme", "layers"], ["seed", "2"]])"));
  EXPECT_EQ(greedy.at("status"), "complete");
  EXPECT_EQ(greedy.at("curve").at("step"), Json::array({5, 10, 15, 20}));
  EXPECT_EQ(greedy.at("samples_per_step"), 4);
  EXPECT_EQ(greedy.at("sent_down"), 0) << "no gradient crosses the cut";
  EXPECT_GT(greedy.at("sent_up"), 0);
  EXPECT_GT(found.at(0).at("sent_down"), 0);
  EXPECT_LT(greedy.at("validation_loss"), greedy.at("curve").at("validation_loss").at(0));
  EXPECT_TRUE(contains(text, "scheme    n  steps")) << text;
  EXPECT_TRUE(contains(text, "\nbackprop  2  20 [20, 20]")) << text;
  EXPECT_EQ(slurp(directory_ / "a" / "table.txt"), text.substr(0, text.find("\nrows: ")));
  EXPECT_TRUE(contains(slurp(directory_ / "a" / "study.html"), R"(["scheme","layers"])"));
  EXPECT_GT(greedy.at("flops"), found.at(0).at("flops")) << "a head more";
  EXPECT_LT(greedy.at("parallel_flops"), greedy.at("flops"));
  EXPECT_TRUE(contains(slurp(directory_ / "a" / "rows.csv"), "\n3,layers,2,complete,20,"));
  // A run is what train does with the command of its row.
  const std::string command = greedy.at("command");
  EXPECT_EQ(command.substr(0, 15), "halfback train ");
  output_of(command.substr(9) + " --report " + path("report"));
  std::istringstream lines(slurp(directory_ / "report" / "metrics.jsonl"));
  std::string last;
  for (std::string line; std::getline(lines, line);) {
    last = line;
  }
  EXPECT_EQ(Json::parse(last).at("validation_loss"), greedy.at("validation_loss"));
  // Nothing is left to do.
  EXPECT_EQ(output_of(study("a")), text);
}

// Steps to a result belong to the batch size, the seed and the settings, and to no shape of the
// run.
TEST_F(StudyTest, StepsToTheTargetAreThoseOfOneRank) {
  write_idx_images(directory_ / "images", 8, 8);
  spit(directory_ / "a.toml",
       "[run]\ndata = \"" + path("images") +
           "\"\nmodel = \"mlp\"\nlayers = 2\nwidth = 16\ninputs = 64\nclasses = 8\n"
           "batch-size = 8\nthreads = 1\ngradient-groups = 2\noptimizer = \"sgd\"\n"
           "learning-rate = 0.05\nweight-decay = 0\nsteps = 200\nevaluate-every = 2\n"
           "[grid]\nsparsity = [0, 0.6]\nshape = [\n"
           "{name = \"one\", ranks = 1, schedule = \"gpipe\", micro-batches = 4},\n"
           "{name = \"replicas\", ranks = 1, schedule = \"gpipe\", micro-batches = 2, "
           "data-parallel = 2, shard-optimizer = true},\n"
           "{name = \"stages\", ranks = 2, schedule = \"zb-h1\", micro-batches = 4}]\n"
           "[target]\nvalidation-accuracy = 0.9\n");
  output_of(study("a"));
  const std::map<int, Json> found = rows("a");
  ASSERT_EQ(found.size(), 6U);
  for (const int first : {0, 3}) {
    const Json& one = found.at(first);
    EXPECT_EQ(one.at("status"), "complete") << one;
    EXPECT_EQ(one.contains("sparse_flops"), first == 3);
    for (const int other : {first + 1, first + 2}) {
      EXPECT_EQ(found.at(other).at("steps"), one.at("steps"));
      EXPECT_EQ(found.at(other).at("curve"), one.at("curve"));
    }
  }
  EXPECT_NE(found.at(0).at("curve"), found.at(3).at("curve"));
}

TEST_F(StudyTest, KeepsFirstLayersOfImagesAndComparesThem) {
  write_idx_images(directory_ / "images", 8, 8);
  const std::string measure = "[measure]\nfirst-layer = true\n";
  file(measure);
  EXPECT_TRUE(contains(refusal(study("a")),
                       "a.toml: run 0 (scheme backprop, seed 1): [measure] "
                       "first-layer is for models of images"));
  spit(directory_ / "a.toml",
       "[run]\ndata = \"" + path("images") +
           "\"\nmodel = \"mlp\"\nlayers = 2\nwidth = 16\ninputs = 64\nclasses = 8\n"
           "batch-size = 8\nmicro-batches = 2\nranks = 2\nthreads = 1\n"
           "clip-scope = \"stage\"\nsteps = 6\n[grid]\nscheme = [\"backprop\", \"greedy\"]\n"
           "seed = [1, 2]\n" +
           measure);
  const std::string text = output_of(study("a", "--jobs 2"));
  EXPECT_TRUE(contains(text, "first-layer CKA")) << text;
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory_ / "a" / "first_layer")) {
    files[entry.path().filename()] = slurp(entry.path());
  }
  ASSERT_EQ(files.size(), 4U);
  EXPECT_NE(files.at("0.safetensors"), files.at("2.safetensors"));
  for (const auto& [run, row] : rows("a")) {
    EXPECT_FALSE(row.contains("first_layer_cka")) << "depends on other runs";
  }
  EXPECT_TRUE(contains(slurp(directory_ / "a" / "study.html"), R"("first_layer_cka":0.)"));
  EXPECT_TRUE(contains(slurp(directory_ / "a" / "study.html"), R"("filters":{)"));
  // A run alone leaves its file too, and replaces one that is there.
  spit(directory_ / "a" / "first_layer" / "2.safetensors", "damaged");
  output_of(study("a", "--run 2"));
  EXPECT_EQ(slurp(directory_ / "a" / "first_layer" / "2.safetensors"), files.at("2.safetensors"));
}

TEST_F(StudyTest, KilledAtAnyMomentItContinuesToTheSameRows) {
  file();
  output_of(study("straight", "--jobs 2"));
  std::mt19937 random(7);
  int num_kills = 0;
  while (num_kills < 10) {
    RunningProcess run(command(study("killed", "--jobs 2")), {mark_.text()});
    std::this_thread::sleep_for(std::chrono::milliseconds(50 + random() % 700));
    run.send(SIGKILL);
    if (run.wait() == 0) {
      break;  // it was through
    }
    ++num_kills;
  }
  output_of(study("killed", "--jobs 2"));
  EXPECT_EQ(rows("killed"), rows("straight")) << num_kills;
}

TEST_F(StudyTest, EndsRunsAtATargetAndSaysWhichDiverge) {
  file("[target]\nvalidation-loss = 5\n", "learning-rate = 0.02\n");
  output_of(study("a"));
  for (const auto& [run, row] : rows("a")) {
    EXPECT_EQ(row.at("status"), "complete");
    EXPECT_LE(row.at("validation_loss"), 5.0);
    EXPECT_LT(row.at("steps"), 20);
  }
  file("[target]\nvalidation-loss = 0.1\n");
  EXPECT_TRUE(contains(output_of(study("b", "--only seed=1 --only scheme=layers")),
                       "\nno run reached validation loss 0.1; the best had "));
  ASSERT_EQ(rows("b").size(), 1U);
  EXPECT_EQ(rows("b").at(2).at("status"), "incomplete");
  file("", "learning-rate = 1e30\noptimizer = \"sgd\"\nclip = 0\n");
  output_of(study("c"));
  EXPECT_EQ(rows("c").at(0).at("status"), "infeasible");
  EXPECT_TRUE(contains(slurp(directory_ / "c" / "table.txt"), "infeasible"));
}

TEST_F(StudyTest, FitsStepsOverTheBatchSize) {
  file("batch-size = [4, 8, 16]\n[target]\nvalidation-loss = 5\n", "learning-rate = 0.02\n");
  std::string text = slurp(directory_ / "a.toml");
  const std::string common = "batch-size = 4\n";
  spit(directory_ / "a.toml", text.erase(text.find(common), common.size()));
  EXPECT_TRUE(
      contains(output_of(study("a", "--only seed=1")),
               "\n\nsteps to the target = c1 / batch size + c2; both parts are equal at the "
               "knee\nscheme    batches  c1"));
  const std::string fits = slurp(directory_ / "a" / "fits.csv");
  EXPECT_TRUE(contains(fits, "\nbackprop,3,")) << fits;
  EXPECT_TRUE(contains(fits, "\nlayers,3,")) << fits;
  EXPECT_TRUE(contains(slurp(directory_ / "a" / "study.html"), R"("place":[["scheme","layers"]])"));
}

TEST_F(StudyTest, ASignalKeepsTheRowsSoFar) {
  file("", "", 10000000);
  RunningProcess run(command(study("a")), {mark_.text()});
  while (mark_.processes().size() < 2) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  run.send(SIGINT);
  EXPECT_EQ(run.wait(), 130) << run.text();
  EXPECT_TRUE(contains(run.text(), "stopped; the same command continues")) << run.text();
  EXPECT_TRUE(mark_.processes().empty());
}

TEST_F(StudyTest, RefusesBeforeTheFirstRun) {
  file("", "lerning-rate = 1\n");
  EXPECT_TRUE(contains(refusal(study("a")),
                       "a.toml: run 0 (scheme backprop, seed 1): unknown option "
                       "'lerning-rate' of train (did you mean "
                       "learning-rate?)"));
  file("", "clip = -1\n");
  EXPECT_TRUE(contains(refusal(study("a")), "--clip is -1; expected 0 or more"));
  file("", "micro-batch-size = 1\n");
  EXPECT_TRUE(contains(refusal(study("a")), "--batch-size and --micro-batch-size are both given"));
  file();
  EXPECT_TRUE(contains(refusal(study("a", "--only seed=3")), "--only seed=3: no run of the study"));
  EXPECT_TRUE(contains(refusal(study("a", "--jobs -1")), "--jobs is -1; expected 0 or more"));
  EXPECT_TRUE(contains(refusal(study("a", "--run 4")), "--run is 4; expected 0 to 3"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "a"));
}

TEST_F(StudyTest, ADryRunSaysWhatIsLeft) {
  file();
  const auto flops = [this] {
    double sum = 0.0;
    for (const auto& [run, row] : rows("a")) {
      sum += row.at("flops").get<double>();
    }
    std::string text = fmt::format("{:.3g} FLOPs", sum);
    std::erase(text, '+');
    return text;
  };
  const std::string all = output_of(study("a", "--dry-run --jobs 3"));
  EXPECT_TRUE(all.starts_with("run 0 (scheme backprop, seed 1)\n  halfback train --data=")) << all;
  EXPECT_FALSE(std::filesystem::exists(directory_ / "a"));
  output_of(study("a", "--only scheme=layers"));
  EXPECT_TRUE(contains(output_of(study("a", "--dry-run")),
                       "\n4 runs, 2 of them done; the others "
                       "take "));
  const std::string half = flops();
  EXPECT_TRUE(
      contains(output_of(study("b", "--dry-run --only scheme=layers")), "\n2 runs, " + half))
      << half;
  output_of(study("a"));
  EXPECT_TRUE(contains(all, "\n4 runs, " + flops() + " and about ")) << all;
  EXPECT_TRUE(contains(all, ", 3 at a time (measured by 3 steps of each of 2 lines)\n")) << all;
  EXPECT_TRUE(contains(output_of(study("a", "--dry-run")), "\n4 runs, all of them done\n"));
  file("", "", 30);
  EXPECT_TRUE(contains(refusal(study("a", "--dry-run")), "[run] steps differs"));
}

}  // namespace
}  // namespace halfback::testing
