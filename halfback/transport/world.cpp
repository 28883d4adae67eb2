#include "halfback/transport/world.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>

namespace halfback {

namespace {

constexpr int kDefaultPort = 29500;  // c10d's own
constexpr int kMaxPort = 65535;
constexpr int kMaxProcesses = 1 << 20;

// The variables of one launcher.
struct Names {
  const char* launcher;
  const char* index;
  const char* count;
  const char* local_count;
};

constexpr Names kOwn{"halfback", "HALFBACK_PROCESS", "HALFBACK_PROCESSES", "HALFBACK_PROCESSES"};
constexpr Names kTorchrun{"torchrun", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"};
constexpr Names kOpenMpi{"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                         "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Names kMpich{"MPICH", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"};

// Steps from here on are not srun's: the batch script, salloc's shell, and what Slurm itself runs.
constexpr std::int64_t kFirstSpecialStep = 0xfffffff0;

class Reader {
 public:
  explicit Reader(const Environment& environment) : environment_(environment) {}

  std::optional<std::string> find(const std::string& name) const {
    auto value = environment_(name);
    return value && !value->empty() ? value : std::nullopt;
  }

  bool has(const std::string& name) const { return find(name).has_value(); }

  std::string text(const std::string& name, const char* because) const {
    if (auto value = find(name)) {
      return *value;
    }
    throw ConfigError(
        fmt::format("environment: {} is set and {} is not; set both, or neither", because, name));
  }

  // Returns a number in [least, most].
  int number(const std::string& name, int least, int most) const {
    const std::string value = find(name).value_or("");
    const auto parsed = parse_integer(value);
    if (!parsed || *parsed < least || *parsed > most) {
      throw ConfigError(
          fmt::format("environment: {}={} is not a number from {} to {}; correct or unset it", name,
                      value, least, most));
    }
    return static_cast<int>(*parsed);
  }

  int number_or(const std::string& name, int least, int most, int otherwise) const {
    return has(name) ? number(name, least, most) : otherwise;
  }

 private:
  const Environment& environment_;
};

// Reads index and counts; returns nothing if neither variable is set.
std::optional<World> numbered(const Reader& reader, const Names& names) {
  if (!reader.has(names.index) && !reader.has(names.count)) {
    return std::nullopt;
  }
  World world;
  world.launcher = names.launcher;
  reader.text(names.index, names.count);
  reader.text(names.count, names.index);
  world.count = reader.number(names.count, 1, kMaxProcesses);
  world.index = reader.number(names.index, 0, kMaxProcesses);
  if (world.index >= world.count) {
    throw ConfigError(fmt::format(
        "environment: {}={} and {}={}; processes are counted from 0; correct one of them",
        names.index, world.index, names.count, world.count));
  }
  world.local_count = 0;
  if (names.local_count != nullptr) {
    world.local_count = reader.number_or(names.local_count, 1, world.count, 0);
  }
  return world;
}

void set_store(World& world, const Reader& reader, const std::string& default_host, int port) {
  world.store_host = reader.find("MASTER_ADDR").value_or(default_host);
  world.store_port = reader.number_or("MASTER_PORT", 1, kMaxPort, port);
}

World of_own(World world, const Reader& reader) {
  const std::string store = reader.text("HALFBACK_STORE", "HALFBACK_PROCESS");
  const auto colon = store.rfind(':');
  const auto port = parse_integer(colon == store.npos ? "" : store.substr(colon + 1));
  if (!port || *port < 1 || *port > kMaxPort || colon == 0) {
    throw ConfigError(
        fmt::format("environment: HALFBACK_STORE={} is not host:port; correct it", store));
  }
  world.store_host = store.substr(0, colon);
  world.store_port = static_cast<int>(*port);
  world.is_store_served = true;
  world.restart = reader.number_or("HALFBACK_RESTART", 0, kMaxProcesses, 0);
  return world;
}

World of_torchrun(World world, const Reader& reader) {
  reader.text("MASTER_ADDR", "RANK");
  reader.text("MASTER_PORT", "RANK");
  set_store(world, reader, "", kDefaultPort);
  world.is_store_served = reader.find("TORCHELASTIC_USE_AGENT_STORE") == "True";
  world.restart = reader.number_or("TORCHELASTIC_RESTART_COUNT", 0, kMaxProcesses, 0);
  return world;
}

World of_mpi(World world, const Reader& reader) {
  if (!reader.has("MASTER_ADDR") && !world.is_on_one_host()) {
    throw ConfigError(fmt::format(
        "environment: {} has started {} processes, {} of them on this host, and does not say where "
        "to meet; set MASTER_ADDR to the host of process 0 (mpirun -x MASTER_ADDR=..., mpiexec "
        "-genv MASTER_ADDR ...)",
        world.launcher, world.count, world.local_count));
  }
  set_store(world, reader, "127.0.0.1", kDefaultPort);
  return world;
}

// The step's count takes precedence: inside a step, the job's number of tasks may be set as well.
Names slurm_names(const Reader& reader) {
  constexpr const char* kStepCount = "SLURM_STEP_NUM_TASKS";
  return {"Slurm", "SLURM_PROCID", reader.has(kStepCount) ? kStepCount : "SLURM_NTASKS", nullptr};
}

// A batch script and an interactive shell have a SLURM_PROCID too, and each is a single process.
bool is_in_slurm_step(const Reader& reader) {
  const auto step = parse_integer(reader.find("SLURM_STEP_ID").value_or(""));
  return reader.has("SLURM_PROCID") && step && *step < kFirstSpecialStep &&
         reader.number_or(slurm_names(reader).count, 1, kMaxProcesses, 1) > 1;
}

// Under srun, processes may also get the numbers of an MPI, equal to Slurm's. With mpiexec inside a
// step, they differ.
bool has_slurms_numbers(const Reader& reader, const Names& names) {
  const Names slurm = slurm_names(reader);
  return is_in_slurm_step(reader) && reader.find(names.index) == reader.find(slurm.index) &&
         reader.find(names.count) == reader.find(slurm.count);
}

World of_slurm(World world, const Reader& reader) {
  const auto list = reader.find("SLURM_STEP_NODELIST");
  // So jobs on one host use different ports.
  constexpr int kFirstPort = 20000;
  constexpr int kNumPorts = 10000;
  const int job = reader.number_or("SLURM_JOB_ID", 0, INT32_MAX, 0);
  set_store(world, reader,
            first_host(list ? *list : reader.text("SLURM_JOB_NODELIST", "SLURM_PROCID")),
            kFirstPort + job % kNumPorts);
  if (reader.find("SLURM_STEP_NUM_NODES")
          .value_or(reader.find("SLURM_JOB_NUM_NODES").value_or("")) == "1") {
    world.local_count = world.count;
  }
  return world;
}

}  // namespace

World detect_world(const Environment& environment) {
  const Reader reader(environment);
  if (reader.has("HALFBACK_PROCESS") && reader.has("RANK")) {
    throw ConfigError(
        "environment: HALFBACK_PROCESS and RANK are both set, so two launchers have started this "
        "process; use one of them");
  }
  if (const auto world = numbered(reader, kOwn)) {
    return of_own(*world, reader);
  }
  if (const auto world = numbered(reader, kTorchrun)) {
    return of_torchrun(*world, reader);
  }
  for (const Names& names : {kOpenMpi, kMpich}) {
    const auto world = numbered(reader, names);
    if (world && !has_slurms_numbers(reader, names)) {
      return of_mpi(*world, reader);
    }
  }
  if (is_in_slurm_step(reader)) {
    return of_slurm(*numbered(reader, slurm_names(reader)), reader);
  }
  return {};
}

World detect_world() {
  return detect_world([](const std::string& name) -> std::optional<std::string> {
    const char* const value = std::getenv(name.c_str());
    return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
  });
}

std::string first_host(std::string_view list) {
  std::string host;
  while (true) {
    const auto end = list.find_first_of("[,");
    host += list.substr(0, end);
    if (end == list.npos || list[end] == ',') {
      return host;
    }
    list.remove_prefix(end + 1);
    const auto close = list.find(']');
    if (close == list.npos) {
      throw ConfigError(fmt::format(
          "environment: Slurm's list of hosts ends inside of {}[{}; correct SLURM_JOB_NODELIST",
          host, list));
    }
    host += list.substr(0, list.find_first_of(",-]"));
    list.remove_prefix(close + 1);
  }
}

}  // namespace halfback
