#include "engine/transport/ucx_fabric.h"

#include <ucp/api/ucp.h>

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/strings/str_cat.h>

#include <chrono>
#include <cstring>
#include <deque>
#include <list>
#include <utility>
#include <vector>

#include "engine/transport/fabric_settings.h"
#include "engine/transport/fabric_wire.h"
#include "engine/wire/codec.h"

namespace ray_engine {
namespace {

enum AmId : unsigned { kHelloAm = 0, kBatchAm = 1, kChunkAm = 2 };

constexpr std::chrono::milliseconds kCloseTime{1000};
constexpr int kProgressRounds = 64;  // per Progress(), so that the loop's other sources get their turn

absl::Status ToStatus(ucs_status_t status, const std::string& what) {
  if (status == UCS_OK) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(what, ": ", ucs_status_string(status)));
}

class UcxFabric;

struct Chunk {  // waiting to be sent
  BulkChunk chunk;
  const char* bytes = nullptr;
  Fabric::Done done;
};

absl::Status NotConnected() { return absl::UnavailableError("the node is not connected"); }

// Another node. Destroyed only when UCX has let go of its endpoint, whose error handler points here.
struct Peer {
  UcxFabric* fabric = nullptr;
  std::uint32_t node = 0;
  std::string address;
  ucp_ep_h endpoint = nullptr;    // made when there is something to send
  std::string broken;             // why the endpoint broke; empty while it works
  bool current = true;            // in the table of peers: neither lost nor disconnected
  bool trusted = false;           // it has named the secret
  std::uint64_t incarnation = 0;  // announced by its Hello
  BatchOrder order;
  std::uint64_t next_sequence = 0;  // of the batches to it
  std::deque<std::string> batches;  // waiting to be sent
  std::deque<Chunk> chunks;
  bool queued = false;  // in UcxFabric::queued_
};

// On its way out; UCX reads from here until it reports completion.
struct Outgoing {
  UcxFabric* fabric = nullptr;
  std::string bytes;  // hello or batch
  ChunkEnvelope envelope;
  Fabric::Done done;  // chunk
  std::list<Outgoing>::iterator self;
};

// A chunk on its way into the handler's memory.
struct Incoming {
  UcxFabric* fabric = nullptr;
  std::uint32_t node = 0;
  BulkChunk chunk;
  std::list<Incoming>::iterator self;
};

// UCX is called only from Progress() and the destructor, never from inside its own callbacks: those take in what has come
// and leave notes (queued_, broken_) for the rest.
class UcxFabric final : public Fabric {
 public:
  explicit UcxFabric(FabricHandler* handler) : handler_(handler) {}
  ~UcxFabric() override;
  absl::Status Start(const UcxFabricOptions& options);

  std::string Address() const override { return address_; }
  void Introduce(std::uint32_t self, const std::string& secret) override;
  absl::Status Connect(std::uint32_t node, const std::string& address) override;
  void Disconnect(std::uint32_t node) override;
  void Send(std::uint32_t node, const FrameHeader& header, std::string_view payload) override;
  void SendBulk(std::uint32_t node, const BulkChunk& chunk, const char* bytes, Done done) override;
  bool Progress() override;
  int EventFd() const override { return event_fd_; }
  bool Arm() override;
  FabricStats Stats() const override { return stats_; }

 private:
  // What UCX calls. `arg`: the fabric; OnEndpointError: the Peer; OnSent, OnReceived: the Outgoing, the Incoming.
  static ucs_status_t OnHello(void* arg, const void*, size_t, void* data, size_t size, const ucp_am_recv_param_t*);
  static ucs_status_t OnBatch(void* arg, const void* header, size_t header_size, void* data, size_t size,
                              const ucp_am_recv_param_t*);
  static ucs_status_t OnChunk(void* arg, const void* header, size_t header_size, void* data, size_t size,
                              const ucp_am_recv_param_t* param);
  static void OnEndpointError(void* arg, ucp_ep_h, ucs_status_t status);
  static void OnSent(void* request, ucs_status_t status, void* arg);
  static void OnReceived(void* request, ucs_status_t status, size_t, void* arg);

  absl::Status StartContext(const UcxFabricOptions& options);
  absl::Status StartWorker();
  absl::Status Handle(AmId id, ucp_am_recv_callback_t callback);
  void CloseAll();

  Peer* Find(std::uint32_t node) const;
  Peer* AddPeer(std::uint32_t node, const std::string& address);
  std::unique_ptr<Peer> TakeOut(std::uint32_t node);
  bool EnsureOpen(Peer* peer);
  void LoseBroken();
  void Lose(std::unique_ptr<Peer> peer);
  void Close(std::unique_ptr<Peer> peer, unsigned flags);
  void ReapClosed();

  Peer* Trusted(const Envelope& sender);
  void TakeHello(const Hello& hello);
  void TakeBatch(Peer* peer, std::string_view batch);
  ucs_status_t TakeChunk(const ChunkEnvelope& envelope, void* data, const ucp_am_recv_param_t& param);
  ucs_status_t Receive(std::uint32_t node, const BulkChunk& chunk, char* to, void* descriptor);
  void Received(std::uint32_t node, const BulkChunk& chunk, ucs_status_t status);

  void Queue(Peer* peer);
  bool Flush();
  void FlushPeer(Peer* peer);
  void DropUnsent(Peer* peer);
  void Post(Peer* peer, AmId id, Outgoing item, const char* bytes, std::size_t size);
  void Sent(Outgoing* item, ucs_status_t status);

  FabricHandler* handler_;
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int event_fd_ = -1;
  std::string address_;

  bool introduced_ = false, ended_ = false;
  std::uint32_t self_ = 0;
  std::string secret_;
  std::uint64_t incarnation_ = 0;

  absl::flat_hash_map<std::uint32_t, std::unique_ptr<Peer>> peers_;
  absl::flat_hash_set<std::pair<std::uint32_t, std::uint64_t>> gone_;  // (node, incarnation) given up
  std::vector<std::uint32_t> queued_;                                  // nodes with something to send, or to greet
  std::vector<std::uint32_t> broken_;                                  // nodes whose endpoint broke
  std::vector<std::unique_ptr<Peer>> leaving_;                         // disconnected, to be flushed and closed
  std::vector<std::pair<ucs_status_ptr_t, std::unique_ptr<Peer>>> closing_;
  std::vector<Done> undeliverable_;  // of chunks to nodes that are not connected
  std::list<Outgoing> outgoing_;
  std::list<Incoming> incoming_;
  FabricStats stats_;
};

// ---- start and end -----------------------------------------------------------------------------------------------------

absl::Status UcxFabric::Start(const UcxFabricOptions& options) {
  absl::Status status = StartContext(options);
  if (status.ok()) status = StartWorker();
  if (status.ok()) status = Handle(kHelloAm, OnHello);
  if (status.ok()) status = Handle(kBatchAm, OnBatch);
  if (status.ok()) status = Handle(kChunkAm, OnChunk);
  return status;
}

absl::Status UcxFabric::StartContext(const UcxFabricOptions& options) {
  ucp_config_t* config = nullptr;
  absl::Status status = ToStatus(ucp_config_read(nullptr, nullptr, &config), "cannot read the UCX configuration");
  if (!status.ok()) return status;
  for (const auto& [name, value] : FabricSettings(options.virtual_nodes, options.interface)) {
    const ucs_status_t modified = ucp_config_modify(config, name.c_str(), value.c_str());
    if (status.ok()) status = ToStatus(modified, absl::StrCat("UCX does not take ", name, "=", value));
  }
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  params.name = "ray-engine";
  if (status.ok()) status = ToStatus(ucp_init(&params, config, &context_), "cannot start UCX");
  ucp_config_release(config);
  return status;
}

absl::Status UcxFabric::StartWorker() {
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SINGLE;
  if (absl::Status status = ToStatus(ucp_worker_create(context_, &params, &worker_), "no UCX worker"); !status.ok()) {
    return status;
  }
  if (absl::Status status = ToStatus(ucp_worker_get_efd(worker_, &event_fd_), "no UCX event fd"); !status.ok()) {
    return status;
  }
  ucp_address_t* address = nullptr;
  size_t size = 0;
  absl::Status status = ToStatus(ucp_worker_get_address(worker_, &address, &size), "no UCX address");
  if (!status.ok()) return status;
  address_.assign(reinterpret_cast<const char*>(address), size);
  ucp_worker_release_address(worker_, address);
  return absl::OkStatus();
}

absl::Status UcxFabric::Handle(AmId id, ucp_am_recv_callback_t callback) {
  ucp_am_handler_param_t param{};
  param.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG |
                     UCP_AM_HANDLER_PARAM_FIELD_FLAGS;
  param.id = id;
  param.cb = callback;
  param.arg = this;
  param.flags = UCP_AM_FLAG_WHOLE_MSG;
  return ToStatus(ucp_worker_set_am_recv_handler(worker_, &param), "UCX takes no active message handler");
}

void UcxFabric::Introduce(std::uint32_t self, const std::string& secret) {
  introduced_ = true;
  self_ = self;
  secret_ = secret;
  incarnation_ = RandomIncarnation();
}

UcxFabric::~UcxFabric() {
  ended_ = true;
  if (worker_ != nullptr) {
    CloseAll();
    ucp_worker_destroy(worker_);
  }
  if (context_ != nullptr) ucp_cleanup(context_);
  for (const Done& done : undeliverable_) done(NotConnected());
  for (const Outgoing& item : outgoing_) {
    if (item.done) item.done(absl::CancelledError("the fabric was closed"));
  }
}

void UcxFabric::CloseAll() {
  while (!peers_.empty()) Disconnect(peers_.begin()->first);
  const auto deadline = std::chrono::steady_clock::now() + kCloseTime;
  do {
    Flush();
    ucp_worker_progress(worker_);
    ReapClosed();
  } while (!closing_.empty() && std::chrono::steady_clock::now() < deadline);
  for (const auto& [request, peer] : closing_) ucp_request_free(request);  // the worker ends them
}

// ---- peers -------------------------------------------------------------------------------------------------------------

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
  if (const ucs_status_t status = ucp_ep_create(worker_, &params, &peer->endpoint); status != UCS_OK) {
    peer->endpoint = nullptr;
    OnEndpointError(peer, nullptr, status);
    return false;
  }
  Outgoing hello;
  hello.bytes = Encode(Hello{secret_, self_, incarnation_, address_});
  Post(peer, kHelloAm, std::move(hello), nullptr, 0);
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

// ---- receiving ---------------------------------------------------------------------------------------------------------

Peer* UcxFabric::Trusted(const Envelope& sender) {
  Peer* peer = Find(sender.node);
  if (peer != nullptr && peer->trusted && peer->incarnation == sender.incarnation) return peer;
  ++stats_.dropped_unauthenticated;
  return nullptr;
}

ucs_status_t UcxFabric::OnHello(void* arg, const void*, size_t, void* data, size_t size, const ucp_am_recv_param_t*) {
  auto* fabric = static_cast<UcxFabric*>(arg);
  Hello hello;
  if (Decode({static_cast<const char*>(data), size}, &hello)) {
    fabric->TakeHello(hello);
  } else {
    ++fabric->stats_.dropped_malformed;
  }
  return UCS_OK;
}

void UcxFabric::TakeHello(const Hello& hello) {
  const bool gone = gone_.contains({hello.node, hello.incarnation});
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

ucs_status_t UcxFabric::OnBatch(void* arg, const void* header, size_t header_size, void* data, size_t size,
                                const ucp_am_recv_param_t*) {
  auto* fabric = static_cast<UcxFabric*>(arg);
  Envelope envelope;
  if (header_size != sizeof envelope) {
    ++fabric->stats_.dropped_malformed;
    return UCS_OK;
  }
  std::memcpy(&envelope, header, sizeof envelope);
  Peer* peer = fabric->Trusted(envelope);
  if (peer == nullptr || !peer->order.Take(envelope.sequence, {static_cast<const char*>(data), size})) return UCS_OK;
  fabric->TakeBatch(peer, {static_cast<const char*>(data), size});
  for (std::string kept; peer->order.TakeKept(&kept);) fabric->TakeBatch(peer, kept);
  return UCS_OK;
}

void UcxFabric::TakeBatch(Peer* peer, std::string_view batch) {
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

ucs_status_t UcxFabric::OnChunk(void* arg, const void* header, size_t header_size, void* data, size_t size,
                                const ucp_am_recv_param_t* param) {
  auto* fabric = static_cast<UcxFabric*>(arg);
  ChunkEnvelope envelope;
  if (header_size == sizeof envelope) std::memcpy(static_cast<void*>(&envelope), header, sizeof envelope);
  const BulkChunk& chunk = envelope.chunk;
  if (header_size != sizeof envelope || chunk.size != size || size > kMaxBulkChunk || chunk.offset > chunk.total ||
      size > chunk.total - chunk.offset) {
    ++fabric->stats_.dropped_malformed;
    return UCS_OK;
  }
  return fabric->Trusted(envelope.sender) == nullptr ? UCS_OK : fabric->TakeChunk(envelope, data, *param);
}

ucs_status_t UcxFabric::TakeChunk(const ChunkEnvelope& envelope, void* data, const ucp_am_recv_param_t& param) {
  char* to = handler_->OnBulk(envelope.sender.node, envelope.chunk);
  if (to == nullptr) return UCS_OK;
  if ((param.recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0) return Receive(envelope.sender.node, envelope.chunk, to, data);
  std::memcpy(to, data, envelope.chunk.size);
  Received(envelope.sender.node, envelope.chunk, UCS_OK);
  return UCS_OK;
}

// Fetches a chunk that was only announced.
ucs_status_t UcxFabric::Receive(std::uint32_t node, const BulkChunk& chunk, char* to, void* descriptor) {
  incoming_.push_front({this, node, chunk, {}});
  incoming_.front().self = incoming_.begin();
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.cb.recv_am = OnReceived;
  param.user_data = &incoming_.front();
  const ucs_status_ptr_t request = ucp_am_recv_data_nbx(worker_, descriptor, to, chunk.size, &param);
  if (!UCS_PTR_IS_PTR(request)) OnReceived(nullptr, UCS_PTR_STATUS(request), 0, &incoming_.front());
  return UCS_INPROGRESS;
}

void UcxFabric::OnReceived(void* request, ucs_status_t status, size_t, void* arg) {
  if (request != nullptr) ucp_request_free(request);
  auto* item = static_cast<Incoming*>(arg);
  UcxFabric* fabric = item->fabric;
  const Incoming received = *item;
  fabric->incoming_.erase(received.self);
  fabric->Received(received.node, received.chunk, status);
}

void UcxFabric::Received(std::uint32_t node, const BulkChunk& chunk, ucs_status_t status) {
  if (status == UCS_OK) stats_.bulk_bytes_received += chunk.size;
  if (!ended_) handler_->OnBulkDone(node, chunk, ToStatus(status, "receive failed"));
}

// ---- sending -----------------------------------------------------------------------------------------------------------

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
    peer->chunks.push_back({chunk, bytes, std::move(done)});
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
    Close(std::move(peer), 0);
  }
  return !queued.empty() || !leaving.empty();
}

void UcxFabric::FlushPeer(Peer* peer) {
  peer->queued = false;
  const bool nothing = peer->batches.empty() && peer->chunks.empty();
  if (nothing && !peer->current) return;
  if (!EnsureOpen(peer)) return DropUnsent(peer);
  while (!peer->batches.empty()) {
    Outgoing item;
    item.bytes = std::move(peer->batches.front());
    item.envelope.sender.sequence = peer->next_sequence++;
    peer->batches.pop_front();
    ++stats_.batches_sent;
    Post(peer, kBatchAm, std::move(item), nullptr, 0);
  }
  while (!peer->chunks.empty()) {
    const Chunk chunk = std::move(peer->chunks.front());
    peer->chunks.pop_front();
    Outgoing item;
    item.envelope.chunk = chunk.chunk;
    item.done = chunk.done;
    Post(peer, kChunkAm, std::move(item), chunk.bytes, chunk.chunk.size);
  }
}

void UcxFabric::DropUnsent(Peer* peer) {
  peer->batches.clear();
  while (!peer->chunks.empty()) {
    undeliverable_.push_back(std::move(peer->chunks.front().done));
    peer->chunks.pop_front();
  }
}

void UcxFabric::Post(Peer* peer, AmId id, Outgoing outgoing, const char* bytes, std::size_t size) {
  Outgoing& item = outgoing_.emplace_front(std::move(outgoing));
  item.fabric = this;
  item.self = outgoing_.begin();
  item.envelope.sender.node = self_;
  item.envelope.sender.incarnation = incarnation_;
  const std::size_t header_size[] = {0, sizeof(Envelope), sizeof(ChunkEnvelope)};
  if (id != kChunkAm) {
    bytes = item.bytes.data();
    size = item.bytes.size();
  }
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  param.cb.send = OnSent;
  param.user_data = &item;
  param.flags = id == kChunkAm ? 0 : UCP_AM_SEND_FLAG_EAGER;
  const ucs_status_ptr_t request = ucp_am_send_nbx(peer->endpoint, id, &item.envelope, header_size[id], bytes, size, &param);
  if (!UCS_PTR_IS_PTR(request)) OnSent(nullptr, UCS_PTR_STATUS(request), &item);
}

void UcxFabric::OnSent(void* request, ucs_status_t status, void* arg) {
  if (request != nullptr) ucp_request_free(request);
  auto* item = static_cast<Outgoing*>(arg);
  item->fabric->Sent(item, status);
}

void UcxFabric::Sent(Outgoing* item, ucs_status_t status) {
  const Done done = std::move(item->done);
  if (done && status == UCS_OK) stats_.bulk_bytes_sent += item->envelope.chunk.size;
  outgoing_.erase(item->self);
  if (done) done(ToStatus(status, "send failed"));
}

// ---- progress ----------------------------------------------------------------------------------------------------------

bool UcxFabric::Progress() {
  if (!introduced_) return false;
  bool worked = Flush();
  for (int round = 0; round < kProgressRounds && ucp_worker_progress(worker_) != 0; ++round) worked = true;
  worked |= Flush();
  worked |= !broken_.empty() || !undeliverable_.empty();
  LoseBroken();
  for (const Done& done : std::exchange(undeliverable_, {})) done(NotConnected());
  ReapClosed();
  return worked;
}

bool UcxFabric::Arm() {
  if (!introduced_) return true;
  const bool idle = queued_.empty() && leaving_.empty() && broken_.empty() && undeliverable_.empty();
  return idle && ucp_worker_arm(worker_) == UCS_OK;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Fabric>> MakeUcxFabric(const UcxFabricOptions& options, FabricHandler* handler) {
  auto fabric = std::make_unique<UcxFabric>(handler);
  if (absl::Status status = fabric->Start(options); !status.ok()) return status;
  return fabric;
}

std::string FabricVersion() { return ucp_get_version_string(); }

}  // namespace ray_engine
