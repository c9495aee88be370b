#include "engine/transport/ucx_fabric.h"

#include <absl/algorithm/container.h>
#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <chrono>
#include <deque>
#include <utility>
#include <vector>

#include "engine/transport/fabric_settings.h"
#include "engine/transport/fabric_wire.h"
#include "engine/transport/ucx_receiver.h"
#include "engine/transport/ucx_sender.h"
#include "engine/transport/ucx_worker.h"
#include "engine/wire/codec.h"

namespace ray_engine {
namespace {

constexpr std::chrono::milliseconds kCloseTime{1000};
constexpr int kProgressRounds = 64;  // per Progress(), so that the loop's other sources get their turn

absl::Status NotConnected() { return absl::UnavailableError("the node is not connected"); }

class UcxFabric;

// Another node. Destroyed only when UCX has let go of its endpoint, whose error handler points here.
struct Peer {
  UcxFabric* fabric = nullptr;
  std::uint32_t node = 0;
  std::string address;
  ucp_ep_h endpoint = nullptr;    // made when there is something to send
  std::string broken;             // why the endpoint broke; empty while it works
  bool current = true;            // in the table of peers: neither lost nor disconnected
  bool trusted = false;           // it has named the secret
  std::uint64_t incarnation = 0;  // announced by its PeerHello
  BatchOrder order;
  std::uint64_t next_sequence = 0;        // of the batches to it
  std::deque<std::string> batches;        // waiting to be sent
  std::deque<UcxSender::Message> chunks;  // likewise
  bool queued = false;                    // in UcxFabric::queued_
};

// UCX is called only from Progress() and the destructor, never from inside its own callbacks: those take in what has
// come and leave notes (queued_, broken_) for the rest.
class UcxFabric final : public Fabric, private UcxReceiver::Target {
 public:
  explicit UcxFabric(FabricHandler* handler) : handler_(handler), receiver_(&worker_, this) {}
  ~UcxFabric() override;
  absl::Status Start(const UcxFabricOptions& options);

  std::string Address() const override { return worker_.address(); }
  void Introduce(std::uint32_t self, const std::string& secret) override;
  absl::Status Connect(std::uint32_t node, const std::string& address) override;
  void Disconnect(std::uint32_t node) override;
  void Fence(std::uint32_t node) override;
  void Send(std::uint32_t node, const FrameHeader& header, std::string_view payload) override;
  void SendBulk(std::uint32_t node, const BulkChunk& chunk, const char* bytes, Done done) override;
  bool Progress() override;
  int EventFd() const override { return worker_.event_fd(); }
  bool Arm() override;
  FabricStats Stats() const override { return stats_; }

 private:
  void TakeHello(const PeerHello& hello) override;
  void TakeBatch(const Envelope& sender, std::string_view batch) override;
  char* PlaceChunk(const ChunkEnvelope& envelope) override;
  void ChunkReceived(const ChunkEnvelope& envelope, const absl::Status& status) override;
  void DropMalformed() override { ++stats_.dropped_malformed; }
  static void OnEndpointError(void* arg, ucp_ep_h, ucs_status_t status);  // arg: Peer

  Peer* Find(std::uint32_t node) const;
  Peer* AddPeer(std::uint32_t node, const std::string& address);
  std::unique_ptr<Peer> TakeOut(std::uint32_t node);
  Peer* Trusted(const Envelope& sender);
  void HandFrames(Peer* peer, std::string_view batch);

  bool EnsureOpen(Peer* peer);
  void Close(std::unique_ptr<Peer> peer, unsigned flags);
  void ReapClosed();
  void CloseAll();
  void LoseBroken();
  void Lose(std::unique_ptr<Peer> peer);

  void Queue(Peer* peer);
  bool Flush();
  void FlushPeer(Peer* peer);
  void DropUnsent(Peer* peer);
  void DropChunks(Peer* peer);
  void Post(Peer* peer, UcxSender::Message message);
  bool AnswerUndeliverable();

  FabricHandler* handler_;
  UcxWorker worker_;
  UcxReceiver receiver_;
  UcxSender sender_;

  bool introduced_ = false, ended_ = false;
  std::uint32_t self_ = 0;
  std::string secret_;
  std::uint64_t incarnation_ = 0;

  absl::flat_hash_map<std::uint32_t, std::unique_ptr<Peer>> peers_;
  absl::flat_hash_set<std::pair<std::uint32_t, std::uint64_t>> gone_;  // (node, incarnation) given up
  std::vector<std::uint32_t> queued_;                                  // nodes with something to send, or to greet
  std::vector<std::uint32_t> broken_;                                  // nodes whose endpoint broke
  absl::flat_hash_set<std::uint32_t> fenced_;                          // nodes that are shut out
  std::vector<std::unique_ptr<Peer>> leaving_;                         // to be flushed and closed
  std::vector<std::pair<ucs_status_ptr_t, std::unique_ptr<Peer>>> closing_;
  std::vector<Done> undeliverable_;  // of chunks to nodes that are not connected
  FabricStats stats_;
};

// ---- start and end -------------------------------------------------------------------------------------------------

absl::Status UcxFabric::Start(const UcxFabricOptions& options) {
  absl::Status status = worker_.Start(options);
  return status.ok() ? receiver_.Start() : status;
}

void UcxFabric::Introduce(std::uint32_t self, const std::string& secret) {
  introduced_ = true;
  self_ = self;
  secret_ = secret;
  incarnation_ = RandomIncarnation();
}

UcxFabric::~UcxFabric() {
  ended_ = true;
  if (worker_.started()) CloseAll();
  worker_.Stop();
  sender_.CancelAll();
  AnswerUndeliverable();
}

void UcxFabric::CloseAll() {
  while (!peers_.empty()) Disconnect(peers_.begin()->first);
  const auto deadline = std::chrono::steady_clock::now() + kCloseTime;
  do {
    Flush();
    worker_.Progress();
    ReapClosed();
  } while (!closing_.empty() && std::chrono::steady_clock::now() < deadline);
  for (const auto& [request, peer] : closing_) ucp_request_free(request);  // the worker ends them
}

// ---- peers ---------------------------------------------------------------------------------------------------------

Peer* UcxFabric::Find(std::uint32_t node) const {
  const auto peer = peers_.find(node);
  return peer == peers_.end() ? nullptr : peer->second.get();
}

Peer* UcxFabric::AddPeer(std::uint32_t node, const std::string& address) {
  std::unique_ptr<Peer>& peer = peers_[node];
  peer = std::make_unique<Peer>();
  peer->fabric = this;
  peer->node = node;
  peer->address = address;
  return peer.get();
}

absl::Status UcxFabric::Connect(std::uint32_t node, const std::string& address) {
  if (!introduced_) return absl::FailedPreconditionError("the fabric has not been introduced to the session");
  if (node == self_) return absl::InvalidArgumentError("a node cannot connect to itself");
  if (address.empty()) return absl::InvalidArgumentError(absl::StrCat("node ", node, " has no fabric address"));
  if (Find(node) == nullptr) AddPeer(node, address);
  return absl::OkStatus();
}

void UcxFabric::Disconnect(std::uint32_t node) {
  if (std::unique_ptr<Peer> peer = TakeOut(node)) leaving_.push_back(std::move(peer));
}

void UcxFabric::Fence(std::uint32_t node) {
  fenced_.insert(node);
  if (Peer* peer = Find(node)) DropChunks(peer);
  Disconnect(node);
}

// From now on nothing more comes from this life of the node.
std::unique_ptr<Peer> UcxFabric::TakeOut(std::uint32_t node) {
  const auto found = peers_.find(node);
  if (found == peers_.end()) return nullptr;
  std::unique_ptr<Peer> peer = std::move(found->second);
  peers_.erase(found);
  peer->current = false;
  if (peer->trusted) gone_.insert({node, peer->incarnation});
  return peer;
}

// Opens the endpoint and says hello, if that has not been done. False if the peer cannot be reached.
bool UcxFabric::EnsureOpen(Peer* peer) {
  if (peer->endpoint != nullptr || !peer->broken.empty()) return peer->broken.empty();
  ucp_ep_params_t params{};
  params.field_mask =
      UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(peer->address.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = OnEndpointError;
  params.err_handler.arg = peer;
  if (const ucs_status_t status = ucp_ep_create(worker_.get(), &params, &peer->endpoint); status != UCS_OK) {
    peer->endpoint = nullptr;
    OnEndpointError(peer, nullptr, status);
    return false;
  }
  UcxSender::Message hello;
  hello.bytes = Encode(PeerHello{secret_, self_, incarnation_, worker_.address()});
  Post(peer, std::move(hello));
  return true;
}

void UcxFabric::OnEndpointError(void* arg, ucp_ep_h, ucs_status_t status) {
  Peer* peer = static_cast<Peer*>(arg);
  peer->broken = absl::StrCat("connection lost: ", ucs_status_string(status));
  peer->fabric->broken_.push_back(peer->node);
}

void UcxFabric::LoseBroken() {
  for (const std::uint32_t node : std::exchange(broken_, {})) {
    const Peer* peer = Find(node);
    if (peer != nullptr && !peer->broken.empty()) Lose(TakeOut(node));
  }
}

void UcxFabric::Lose(std::unique_ptr<Peer> peer) {
  const std::uint32_t node = peer->node;
  const std::string reason = peer->broken;
  ++stats_.peers_lost;
  DropUnsent(peer.get());
  Close(std::move(peer), UCP_EP_CLOSE_FLAG_FORCE);
  handler_->OnPeerLost(node, reason);
}

void UcxFabric::Close(std::unique_ptr<Peer> peer, unsigned flags) {
  if (peer->endpoint == nullptr) return;
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = flags;
  const ucs_status_ptr_t request = ucp_ep_close_nbx(peer->endpoint, &param);
  if (UCS_PTR_IS_PTR(request)) closing_.emplace_back(request, std::move(peer));
}

void UcxFabric::ReapClosed() {
  for (std::size_t i = 0; i < closing_.size();) {
    if (ucp_request_check_status(closing_[i].first) == UCS_INPROGRESS) {
      ++i;
      continue;
    }
    ucp_request_free(closing_[i].first);
    std::swap(closing_[i], closing_.back());
    closing_.pop_back();
  }
}

// ---- receiving -----------------------------------------------------------------------------------------------------

Peer* UcxFabric::Trusted(const Envelope& sender) {
  Peer* peer = Find(sender.node);
  if (peer != nullptr && peer->trusted && peer->incarnation == sender.incarnation) return peer;
  ++stats_.dropped_unauthenticated;
  return nullptr;
}

void UcxFabric::TakeHello(const PeerHello& hello) {
  const bool gone = fenced_.contains(hello.node) || gone_.contains({hello.node, hello.incarnation});
  if (ended_ || gone || hello.node == self_ || !SameSecret(hello.secret, secret_)) {
    ++stats_.dropped_unauthenticated;
    return;
  }
  Peer* peer = Find(hello.node);
  if (peer == nullptr) peer = AddPeer(hello.node, hello.address);
  if (peer->trusted) return;  // a second life is not listened to before the first is known to have ended
  peer->trusted = true;
  peer->incarnation = hello.incarnation;
  Queue(peer);  // an endpoint of our own, to notice when the peer dies
}

void UcxFabric::TakeBatch(const Envelope& sender, std::string_view batch) {
  Peer* peer = Trusted(sender);
  if (peer == nullptr || !peer->order.Take(sender.sequence, batch)) return;
  HandFrames(peer, batch);
  for (std::string kept; peer->order.TakeKept(&kept);) HandFrames(peer, kept);
}

void UcxFabric::HandFrames(Peer* peer, std::string_view batch) {
  if (!WellFormed(batch, peer->node, self_)) {
    ++stats_.dropped_malformed;
    return;
  }
  ++stats_.batches_received;
  ForEachFrame(batch, [&](const FrameHeader& header, std::string_view payload) {
    if (!peer->current) return false;  // a handler has disconnected it
    ++stats_.frames_received;
    handler_->OnFrame(peer->node, header, payload);
    return true;
  });
}

char* UcxFabric::PlaceChunk(const ChunkEnvelope& envelope) {
  if (Trusted(envelope.sender) == nullptr) return nullptr;
  return handler_->OnBulk(envelope.sender.node, envelope.chunk);
}

void UcxFabric::ChunkReceived(const ChunkEnvelope& envelope, const absl::Status& status) {
  if (status.ok()) stats_.bulk_bytes_received += envelope.chunk.size;
  if (!ended_) handler_->OnBulkDone(envelope.sender.node, envelope.chunk, status);
}

// ---- sending -------------------------------------------------------------------------------------------------------

void UcxFabric::Queue(Peer* peer) {
  if (!std::exchange(peer->queued, true)) queued_.push_back(peer->node);
}

void UcxFabric::Send(std::uint32_t node, const FrameHeader& header, std::string_view payload) {
  Peer* peer = Find(node);
  if (peer == nullptr) {
    ++stats_.dropped_unreachable;
    return;
  }
  ++stats_.frames_sent;
  std::deque<std::string>& batches = peer->batches;
  if (batches.empty() || batches.back().size() + sizeof header + payload.size() > kMaxBatch) batches.emplace_back();
  AppendFrame(header, payload, &batches.back());
  Queue(peer);
}

void UcxFabric::SendBulk(std::uint32_t node, const BulkChunk& chunk, const char* bytes, Done done) {
  if (Peer* peer = Find(node)) {
    UcxSender::Message& message = peer->chunks.emplace_back();
    message.kind = kUcxChunk;
    message.envelope.chunk = chunk;
    message.chunk = bytes;
    message.done = std::move(done);
    stats_.bulk_bytes_sent += chunk.size;
    Queue(peer);
  } else {
    ++stats_.dropped_unreachable;
    undeliverable_.push_back(std::move(done));
  }
}

bool UcxFabric::Flush() {
  const std::vector<std::uint32_t> queued = std::exchange(queued_, {});
  std::vector<std::unique_ptr<Peer>> leaving = std::exchange(leaving_, {});
  for (const std::uint32_t node : queued) {
    if (Peer* peer = Find(node)) FlushPeer(peer);
  }
  for (std::unique_ptr<Peer>& peer : leaving) {
    FlushPeer(peer.get());
    const unsigned flags = fenced_.contains(peer->node) ? UCP_EP_CLOSE_FLAG_FORCE : 0;
    Close(std::move(peer), flags);
  }
  return !queued.empty() || !leaving.empty();
}

void UcxFabric::FlushPeer(Peer* peer) {
  peer->queued = false;
  const bool nothing = peer->batches.empty() && peer->chunks.empty();
  if (nothing && !peer->current) return;
  if (!EnsureOpen(peer)) return DropUnsent(peer);
  for (; !peer->batches.empty(); peer->batches.pop_front()) {
    UcxSender::Message message;
    message.kind = kUcxBatch;
    message.bytes = std::move(peer->batches.front());
    message.envelope.sender.sequence = peer->next_sequence++;
    ++stats_.batches_sent;
    Post(peer, std::move(message));
  }
  while (!peer->chunks.empty()) {  // `done` may add more
    UcxSender::Message message = std::move(peer->chunks.front());
    peer->chunks.pop_front();
    Post(peer, std::move(message));
  }
}

void UcxFabric::DropUnsent(Peer* peer) {
  peer->batches.clear();
  DropChunks(peer);
}

void UcxFabric::DropChunks(Peer* peer) {
  for (UcxSender::Message& chunk : peer->chunks) undeliverable_.push_back(std::move(chunk.done));
  peer->chunks.clear();
}

void UcxFabric::Post(Peer* peer, UcxSender::Message message) {
  message.envelope.sender.node = self_;
  message.envelope.sender.incarnation = incarnation_;
  sender_.Post(peer->endpoint, std::move(message));
}

bool UcxFabric::AnswerUndeliverable() {
  const std::vector<Done> dones = std::exchange(undeliverable_, {});
  for (const Done& done : dones) done(NotConnected());
  return !dones.empty();
}

// ---- progress ------------------------------------------------------------------------------------------------------

bool UcxFabric::Progress() {
  if (!introduced_) return false;
  bool worked = Flush();
  for (int round = 0; round < kProgressRounds && worker_.Progress(); ++round) worked = true;
  worked |= Flush();
  worked |= !broken_.empty();
  LoseBroken();
  worked |= AnswerUndeliverable();
  ReapClosed();
  return worked;
}

bool UcxFabric::Arm() {
  if (!introduced_) return true;
  const bool idle = queued_.empty() && leaving_.empty() && broken_.empty() && undeliverable_.empty();
  return idle && worker_.Arm();
}

std::string Joined(const Settings& settings) {
  return absl::StrJoin(settings, " ", [](std::string* out, const auto& setting) {
    absl::StrAppend(out, "UCX_", setting.first, "=", setting.second);
  });
}

}  // namespace

std::string DescribeFabric(const UcxFabricOptions& options) {
  UcxWorker worker;
  if (const absl::Status status = worker.Start(options); !status.ok())
    return absl::StrCat("between nodes: nothing; ", status.message(), "\n");
  const std::vector<std::string> networks = worker.Networks();
  const bool rdma = absl::c_any_of(networks, [](const std::string& name) { return name.rfind("tcp/", 0) != 0; });
  const char* large = rdma ? "read from the other node's memory by RDMA where the network can (not tested by us)"
                           : "active messages with rendezvous, from memory to memory over TCP";
  const std::string settings = Joined(FabricSettings(options.virtual_nodes, options.interface));
  return absl::StrCat("between nodes: ", networks.empty() ? "nothing" : absl::StrJoin(networks, ", "),
                      "\nlarge objects: ", large, "\nset for UCX: ", settings.empty() ? "nothing" : settings,
                      " (UCX_* in the environment is stronger)\n");
}

absl::StatusOr<std::unique_ptr<Fabric>> MakeUcxFabric(const UcxFabricOptions& options, FabricHandler* handler) {
  auto fabric = std::make_unique<UcxFabric>(handler);
  if (absl::Status status = fabric->Start(options); !status.ok()) return status;
  return fabric;
}

}  // namespace ray_engine
