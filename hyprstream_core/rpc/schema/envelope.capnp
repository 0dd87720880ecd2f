# What a request travels in. These bytes are what will be signed: everything that decides who asks whom
# for what, and until when, is inside.
@0xd18e5b0c94a7f302;

struct Envelope {
  version @0 :UInt16;
  service @1 :Text;
  method @2 :Text;
  callId @3 :Data;
  # 16 bytes, equal to the message's first frame: a body cannot be moved to another call.
  requestId @4 :Text;
  # For log lines and traces; of the caller's choosing.
  deadline @5 :Float64;
  # Unix seconds; 0 is none.
  traceparent @6 :Text;
  subject @7 :Text;
  payload @8 :Data;
  # The request record.
}
