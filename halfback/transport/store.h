// Where the processes of a run meet: a store of keys and texts, c10d's TCPStore.
//
// c10d protects neither the store nor Gloo's connections: whoever reaches a port can read and
// write; nothing is encrypted or authenticated. Bytes that do not follow the protocol are dropped.
// So the ports belong on a trusted network, and both listen at one address only.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

// Serves a store until it is destroyed.
class StoreServer {
 public:
  // Listens only at the address of `host` if this machine has it, else at all addresses, since the
  // name may be translated on the way. Port 0 takes a free one. Throws TransportError.
  StoreServer(const std::string& host, int port);
  ~StoreServer();

  int port() const { return port_; }

 private:
  struct Impl;
  int port_ = 0;
  std::unique_ptr<Impl> impl_;
};

// A connection to a store. Calls wait for each other, so threads that must not wait have one each.
// Every call throws TransportError if the store is gone.
class StoreClient {
 public:
  // Tries to connect until the timeout has passed, and calls `meanwhile` now and then.
  StoreClient(
      const std::string& host,
      int port,
      std::chrono::duration<double> timeout,
      const std::function<void()>& meanwhile = [] {});
  ~StoreClient();

  void set(const std::string& key, const std::string& text);

  // Sets the text of a key unless it is set already. Returns the key's text.
  std::string set_first(const std::string& key, const std::string& text);

  bool has(const std::vector<std::string>& keys);
  std::optional<std::string> find(const std::string& key);

  // Returns the texts of keys that must all be set.
  std::vector<std::string> get(const std::vector<std::string>& keys);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace halfback
