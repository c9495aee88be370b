#include "engine/transport/sim_fabric.h"

#include <absl/strings/str_cat.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <set>
#include <utility>
#include <vector>

namespace ray_engine {

class SimFabric final : public Fabric {
 public:
  SimFabric(SimNetwork* network, FabricHandler* handler, std::string address)
      : network_(network),
        handler_(handler),
        address_(std::move(address)),
        event_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~SimFabric() override;

  std::string Address() const override { return address_; }
  void Introduce(std::uint32_t self, const std::string& secret) override;
  absl::Status Connect(std::uint32_t node, const std::string& address) override;
  void Disconnect(std::uint32_t node) override { peers_.erase(node); }
  void Fence(std::uint32_t node) override;
  void Send(std::uint32_t node, const FrameHeader& header, std::string_view payload) override;
  void SendBulk(std::uint32_t node, const BulkChunk& chunk, const char* bytes, Done done) override;
  bool Progress() override;
  int EventFd() const override { return event_fd_; }
  bool Arm() override { return inbox_.empty() && dones_.empty(); }
  FabricStats Stats() const override { return stats_; }

  std::uint32_t self() const { return self_; }
  // This node was dropped: nothing reaches it, and nothing it sends goes anywhere.
  void Fail();
  // Another one was; what it had sent is lost.
  void ForgetItemsOf(const std::string& address);
  // Another one ended, after what it had sent.
  void PeerEnded(const std::string& address, const std::string& reason);

 private:
  struct Item {
    std::string address;  // of the sender
    std::function<void()> handle;
  };

  SimFabric* Reach(std::uint32_t node);
  void Deliver(std::string address, std::function<void()> handle);
  bool Accept(std::uint32_t node, const std::string& address, const std::string& secret);
  void TakeChunk(std::uint32_t node, const BulkChunk& chunk, const char* bytes);
  void Lose(const std::string& address, const std::string& reason);
  bool CallDones();

  SimNetwork* network_;
  FabricHandler* handler_;
  std::string address_;
  int event_fd_;
  bool introduced_ = false, failed_ = false;
  std::uint32_t self_ = 0;
  std::string secret_;
  std::map<std::uint32_t, std::string> peers_;  // -> address
  std::set<std::string> gone_;                  // addresses that were given up
  std::deque<Item> inbox_;
  std::deque<std::function<void()>> dones_;  // of chunks sent
  FabricStats stats_;
};

SimFabric::~SimFabric() {
  network_->fabrics_.erase(address_);
  for (const auto& [address, fabric] : network_->fabrics_) fabric->PeerEnded(address_, "connection closed");
  CallDones();
  close(event_fd_);
}

void SimFabric::Introduce(std::uint32_t self, const std::string& secret) {
  introduced_ = true;
  self_ = self;
  secret_ = secret;
}

absl::Status SimFabric::Connect(std::uint32_t node, const std::string& address) {
  if (!introduced_) return absl::FailedPreconditionError("the fabric has not been introduced to the session");
  if (node == self_) return absl::InvalidArgumentError("a node cannot connect to itself");
  peers_.emplace(node, address);
  return absl::OkStatus();
}

void SimFabric::Fence(std::uint32_t node) {
  const auto peer = peers_.find(node);
  if (peer == peers_.end()) return;
  if (SimFabric* fenced = network_->Find(peer->second)) fenced->PeerEnded(address_, "connection closed");
  gone_.insert(peer->second);
  peers_.erase(peer);
}

SimFabric* SimFabric::Reach(std::uint32_t node) {
  const auto peer = peers_.find(node);
  if (failed_ || peer == peers_.end()) return nullptr;
  return network_->Find(peer->second);
}

void SimFabric::Deliver(std::string address, std::function<void()> handle) {
  inbox_.push_back({std::move(address), std::move(handle)});
  eventfd_write(event_fd_, 1);
}

// May what comes from this node be looked at?
bool SimFabric::Accept(std::uint32_t node, const std::string& address, const std::string& secret) {
  if (secret == secret_ && gone_.count(address) == 0 && peers_.emplace(node, address).first->second == address)
    return true;
  ++stats_.dropped_unauthenticated;
  return false;
}

void SimFabric::Send(std::uint32_t node, const FrameHeader& header, std::string_view payload) {
  SimFabric* peer = Reach(node);
  if (peer == nullptr) {
    ++stats_.dropped_unreachable;
    return;
  }
  ++stats_.frames_sent;
  FrameHeader sized = header;
  sized.size = static_cast<std::uint32_t>(payload.size());
  peer->Deliver(address_,
                [peer, sized, bytes = std::string(payload), from = self_, address = address_, secret = secret_] {
                  if (!peer->Accept(from, address, secret)) return;
                  ++peer->stats_.frames_received;
                  peer->handler_->OnFrame(from, sized, bytes);
                });
}

void SimFabric::SendBulk(std::uint32_t node, const BulkChunk& chunk, const char* bytes, Done done) {
  SimFabric* peer = Reach(node);
  if (peer == nullptr) {
    ++stats_.dropped_unreachable;
    dones_.emplace_back([done] { done(absl::UnavailableError("the node is not connected")); });
    return;
  }
  stats_.bulk_bytes_sent += chunk.size;
  std::string copy(bytes, chunk.size);
  peer->Deliver(address_, [peer, chunk, copy = std::move(copy), from = self_, address = address_, secret = secret_] {
    if (peer->Accept(from, address, secret)) peer->TakeChunk(from, chunk, copy.data());
  });
  dones_.emplace_back([done] { done(absl::OkStatus()); });
}

void SimFabric::TakeChunk(std::uint32_t node, const BulkChunk& chunk, const char* bytes) {
  char* to = handler_->OnBulk(node, chunk);
  if (to == nullptr) return;
  std::memcpy(to, bytes, chunk.size);
  stats_.bulk_bytes_received += chunk.size;
  handler_->OnBulkDone(node, chunk, absl::OkStatus());
}

bool SimFabric::Progress() {
  eventfd_t rings = 0;
  eventfd_read(event_fd_, &rings);
  if (!introduced_) return false;
  const std::size_t count = inbox_.size();
  for (std::size_t i = 0; i < count; ++i) {
    const Item item = std::move(inbox_.front());
    inbox_.pop_front();
    item.handle();
  }
  return CallDones() || count > 0;
}

bool SimFabric::CallDones() {
  const std::deque<std::function<void()>> dones = std::exchange(dones_, {});
  for (const std::function<void()>& done : dones) done();
  return !dones.empty();
}

void SimFabric::Fail() {
  failed_ = true;
  inbox_.clear();
}

void SimFabric::ForgetItemsOf(const std::string& address) {
  const auto from_it = [&](const Item& item) { return item.address == address; };
  inbox_.erase(std::remove_if(inbox_.begin(), inbox_.end(), from_it), inbox_.end());
}

void SimFabric::PeerEnded(const std::string& address, const std::string& reason) {
  Deliver(address, [this, address, reason] { Lose(address, reason); });
}

void SimFabric::Lose(const std::string& address, const std::string& reason) {
  gone_.insert(address);
  for (const auto& [node, peer] : peers_) {
    if (peer != address) continue;
    const std::uint32_t lost = node;
    peers_.erase(lost);
    ++stats_.peers_lost;
    handler_->OnPeerLost(lost, reason);
    return;
  }
}

// ---- network -------------------------------------------------------------------------------------------------------

std::unique_ptr<Fabric> SimNetwork::Attach(FabricHandler* handler) {
  auto fabric = std::make_unique<SimFabric>(this, handler, absl::StrCat("sim:", ++attached_));
  fabrics_[fabric->Address()] = fabric.get();
  return fabric;
}

SimFabric* SimNetwork::Find(const std::string& address) const {
  const auto fabric = fabrics_.find(address);
  return fabric == fabrics_.end() ? nullptr : fabric->second;
}

void SimNetwork::Drop(std::uint32_t node, const std::string& reason) {
  for (auto [address, fabric] : fabrics_) {
    if (fabric->self() != node) continue;
    fabrics_.erase(address);
    fabric->Fail();
    for (const auto& [other, peer] : fabrics_) {
      peer->ForgetItemsOf(address);
      peer->PeerEnded(address, reason);
    }
    return;
  }
}

void SimNetwork::Settle() {
  bool moved = true;
  while (moved) {
    moved = false;
    const std::map<std::string, SimFabric*> all = fabrics_;  // handlers may attach more
    for (const auto& [address, fabric] : all) moved |= fabric->Progress();
  }
}

}  // namespace ray_engine
