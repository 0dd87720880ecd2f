# Records that every service may use. A record's fields are the fields of the dataclass of the same name,
# in camelCase; `X | None` is a group {none, value}; a mapping is a list of entries.
@0xc3f6a1d2b7e84c01;

struct Empty {
}

struct ErrorRecord {
  # An error of hyprstream_core.errors on its way to the caller.
  type @0 :Text;
  code @1 :Text;
  message @2 :Text;
  remedy :union { none @3 :Void; value @4 :Text; }
  param :union { none @5 :Void; value @6 :Text; }
  details @7 :Text;
  # JSON: machine-readable facts, of any shape.
}

struct NumberEntry {
  key @0 :Text;
  value @1 :Float64;
}
