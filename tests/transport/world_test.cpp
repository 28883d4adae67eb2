// What the environment of each launcher says, and what is refused of it.
#include "halfback/transport/world.h"

#include "halfback/base/error.h"
#include "halfback/transport/processes.h"
#include "halfback/transport/route_to.h"
#include "halfback/transport/store.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace halfback {
namespace {

using Variables = std::map<std::string, std::string>;

World detect(const Variables& variables) {
  return detect_world([&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found != variables.end() ? std::optional(found->second) : std::nullopt;
  });
}

std::string refusal(const Variables& variables) {
  return text_of_thrown<ConfigError>([&] { detect(variables); });
}

Variables with(Variables variables, const Variables& others) {
  for (const auto& [name, value] : others) {
    variables[name] = value;
  }
  return variables;
}

const Variables kOwn = {{"HALFBACK_PROCESS", "1"},
                        {"HALFBACK_PROCESSES", "4"},
                        {"HALFBACK_STORE", "::1:4711"},
                        {"HALFBACK_RESTART", "2"}};
const Variables kTorchrun = {{"RANK", "3"},
                             {"WORLD_SIZE", "8"},
                             {"LOCAL_WORLD_SIZE", "4"},
                             {"MASTER_ADDR", "node0"},
                             {"MASTER_PORT", "29400"}};
const Variables kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "1"},
                            {"OMPI_COMM_WORLD_SIZE", "2"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
const Variables kMpich = {{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}, {"MPI_LOCALNRANKS", "2"}};
const Variables kSlurm = {
    {"SLURM_PROCID", "5"},        {"SLURM_NTASKS", "8"},
    {"SLURM_STEP_ID", "0"},       {"SLURM_JOB_ID", "123456"},
    {"SLURM_JOB_NUM_NODES", "2"}, {"SLURM_JOB_NODELIST", "gnode[10,20,25-27]"}};

TEST(WorldTest, NothingIsASingleProcess) {
  const World world = detect({{"RANK", ""}, {"SLURM_JOB_ID", "7"}});
  EXPECT_EQ(world.index, 0);
  EXPECT_EQ(world.count, 1);
  EXPECT_TRUE(world.is_on_one_host());
}

TEST(WorldTest, OurLauncherServesTheStore) {
  const World world = detect(kOwn);
  EXPECT_EQ(world.index, 1);
  EXPECT_EQ(world.count, 4);
  EXPECT_EQ(world.store_host, "::1");
  EXPECT_EQ(world.store_port, 4711);
  EXPECT_TRUE(world.is_store_served);
  EXPECT_EQ(world.restart, 2);
  EXPECT_TRUE(world.is_on_one_host());
}

TEST(WorldTest, TorchrunServesTheStoreWhereItSaysSo) {
  World world = detect(kTorchrun);
  EXPECT_EQ(world.index, 3);
  EXPECT_EQ(world.count, 8);
  EXPECT_EQ(world.store_host, "node0");
  EXPECT_EQ(world.store_port, 29400);
  EXPECT_FALSE(world.is_store_served);
  EXPECT_FALSE(world.is_on_one_host());
  world = detect(with(
      kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}, {"TORCHELASTIC_RESTART_COUNT", "3"}}));
  EXPECT_TRUE(world.is_store_served);
  EXPECT_EQ(world.restart, 3);
}

TEST(WorldTest, MpiMeetsOnLoopbackOrWhereItIsTold) {
  for (const Variables& variables : {kOpenMpi, kMpich}) {
    const World world = detect(variables);
    EXPECT_EQ(world.count, 2);
    EXPECT_EQ(world.store_host, "127.0.0.1");
    EXPECT_EQ(world.store_port, 29500);
    EXPECT_FALSE(world.is_store_served);
    EXPECT_EQ(detect(with(variables, {{"MASTER_ADDR", "node0"}})).store_host, "node0");
  }
  EXPECT_EQ(detect({{"PMI_RANK", "0"}, {"PMI_SIZE", "1"}}).count, 1);
  const Variables two_hosts = with(kOpenMpi, {{"OMPI_COMM_WORLD_LOCAL_SIZE", "1"}});
  EXPECT_TRUE(contains(refusal(two_hosts), "set MASTER_ADDR to the host of process 0"));
  EXPECT_EQ(detect(with(two_hosts, {{"MASTER_ADDR", "node0"}})).store_host, "node0");
}

TEST(WorldTest, SlurmMeetsAtTheFirstHostOfTheStep) {
  const World world = detect(kSlurm);
  EXPECT_EQ(world.index, 5);
  EXPECT_EQ(world.count, 8);
  EXPECT_EQ(world.store_host, "gnode10");
  EXPECT_EQ(world.store_port, 23456);
  EXPECT_FALSE(world.is_on_one_host());
  EXPECT_EQ(detect(with(kSlurm, {{"SLURM_STEP_NODELIST", "gnode20"}})).store_host, "gnode20");
  EXPECT_TRUE(detect(with(kSlurm, {{"SLURM_STEP_NUM_NODES", "1"}})).is_on_one_host());
}

TEST(WorldTest, SrunMaySetTheNumbersOfAnMpiToo) {
  const Variables both = with(kSlurm, {{"PMI_RANK", "5"}, {"PMI_SIZE", "8"}});
  EXPECT_EQ(detect(both).store_host, "gnode10");
  EXPECT_EQ(detect(with(both, {{"PMI_SIZE", "16"}, {"MASTER_ADDR", "node0"}})).launcher, "MPICH");
}

TEST(WorldTest, OfSlurmTheStepCounts) {
  EXPECT_EQ(detect(with(kSlurm, {{"SLURM_STEP_NUM_TASKS", "6"}})).count, 6);
  EXPECT_EQ(detect(with(kSlurm, {{"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_PROCID", "0"}})).count, 1);
  EXPECT_TRUE(contains(refusal(with(kSlurm, {{"SLURM_STEP_NUM_TASKS", "4"}})),
                       "SLURM_PROCID=5 and SLURM_STEP_NUM_TASKS=4; processes are counted from 0"));
  // A batch script and salloc's shell are single processes, whatever their job may start.
  for (const char* step : {"", "4294967290", "4294967291", "4294967292"}) {
    const World world = detect(with(kSlurm, {{"SLURM_STEP_ID", step}}));
    EXPECT_EQ(world.count, 1) << step;
    EXPECT_TRUE(world.launcher.empty()) << step;
  }
}

TEST(WorldTest, FirstHostsOfSlurmsLists) {
  EXPECT_EQ(first_host("node7"), "node7");
  EXPECT_EQ(first_host("node7,node9"), "node7");
  EXPECT_EQ(first_host("node[007-019,30],other"), "node007");
  EXPECT_EQ(first_host("rack[2]-node[5,6]"), "rack2-node5");
  EXPECT_EQ(first_host("node[3-4]-ib,x"), "node3-ib");
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([] { first_host("node[3-"); }),
                       "environment: Slurm's list of hosts ends inside of node[3-; correct "));
}

TEST(WorldTest, TorchrunGoesBeforeMpiAndSlurm) {
  EXPECT_EQ(detect(with(with(kTorchrun, kOpenMpi), kSlurm)).launcher, "torchrun");
  EXPECT_EQ(detect(with(kOpenMpi, kSlurm)).launcher, "Open MPI");
}

TEST(WorldTest, RanksThatCannotBeDealtOutAreRefused) {
  EXPECT_TRUE(
      contains(text_of_thrown<ConfigError>([] { Processes({.count = 2}, {.num_ranks = 3}); }),
               "processes: 3 ranks cannot be dealt out to 2 processes; the number "));
}

TEST(WorldTest, APortThatIsTakenIsRefused) {
  const StoreServer first("127.0.0.1", 0);
  EXPECT_TRUE(
      contains(text_of_thrown<TransportError>([&] { StoreServer("127.0.0.1", first.port()); }),
               "the store cannot be served at 127.0.0.1:"));
}

TEST(WorldTest, AHostThatIsNotThisOneIsServedAllTheSame) {
  for (const char* const host : {"no.such.host.invalid", "192.0.2.1"}) {
    const StoreServer server(host, 0);  // as behind a translated address
    StoreClient("127.0.0.1", server.port(), std::chrono::seconds(60)).set("key", "text");
  }
}

TEST(WorldTest, HostsThatNoWayLeadsToAreNamed) {
  EXPECT_TRUE(
      contains(text_of_thrown<TransportError>([] { address_towards(std::string(300, 'x')); }),
               "xxx has no address: "));
  EXPECT_TRUE(contains(text_of_thrown<TransportError>([] { address_towards("255.255.255.255"); }),
                       "no route leads to 255.255.255.255: "));
}

TEST(WorldTest, HalvesAndContradictionsAreNamed) {
  EXPECT_EQ(refusal({{"RANK", "0"}}),
            "environment: RANK is set and WORLD_SIZE is not; set both, or neither");
  EXPECT_EQ(refusal({{"HALFBACK_PROCESSES", "2"}}),
            "environment: HALFBACK_PROCESSES is set and HALFBACK_PROCESS is not; set both, or "
            "neither");
  EXPECT_EQ(refusal({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "node0"}}),
            "environment: RANK is set and MASTER_PORT is not; set both, or neither");
  EXPECT_EQ(
      refusal(with(kTorchrun, {{"RANK", "8"}})),
      "environment: RANK=8 and WORLD_SIZE=8; processes are counted from 0; correct one of them");
  EXPECT_EQ(refusal(with(kTorchrun, {{"WORLD_SIZE", "many"}})),
            "environment: WORLD_SIZE=many is not a number from 1 to 1048576; correct or unset it");
  EXPECT_EQ(refusal(with(kTorchrun, {{"MASTER_PORT", "70000"}})),
            "environment: MASTER_PORT=70000 is not a number from 1 to 65535; correct or unset it");
  EXPECT_EQ(refusal(with(kOwn, {{"HALFBACK_STORE", "node0"}})),
            "environment: HALFBACK_STORE=node0 is not host:port; correct it");
  EXPECT_TRUE(contains(refusal(with(kOwn, kTorchrun)), "HALFBACK_PROCESS and RANK are both set"));
}

}  // namespace
}  // namespace halfback
