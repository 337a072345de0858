//! Buses, devices, points.

use super::Kind::{Choice, Duration, Form, Name, Number, Path, Size, Table, Tables, Template, Text, Whole, WholeOrText};
use super::Presence::{Depends, Is, None, Required};
use super::{ABSENT, Choices, Section, key};

pub const BUS: Section = Section {
    title: "[[bus]]",
    keys: &[
        key("name", Name, Required("\"meters\""), "what devices call it"),
        key(
            "protocol",
            Choice(&PROTOCOLS),
            Required("\"modbus-rtu\""),
            "`modbus-rtu`: the gateway asks; `serial`: devices send lines by themselves",
        ),
        key(
            "port",
            Path,
            Required("\"/dev/ttyUSB0\""),
            "the serial device; a path below `/dev/serial/by-id` keeps its meaning when plugs change",
        ),
        key("baud", Whole(50, 4_000_000), Is("9600"), "bits a second (the Modbus standard's own default is 19200)"),
        key("data_bits", Whole(5, 8), Is("8"), "`modbus-rtu` needs 8"),
        key("parity", Choice(&PARITIES), Is("\"none\""), "must be the devices' (the Modbus standard's own default is even)"),
        key("stop_bits", Whole(1, 2), Is("1"), "1 or 2"),
        key("timeout", Duration("1ms", "1m"), Is("\"500ms\""), "`modbus-rtu`: from the end of a request to the end of its reply"),
        key(
            "late_window",
            Duration("0s", "10m"),
            Is("\"3s\""),
            "`modbus-rtu`: how long after a timeout the reply may still come; longer for radio links",
        ),
        key("frame", Table(&FRAME), Required("{ delimiter = \"\\r\\n\" }"), "`serial`: where a frame ends; needed there"),
    ],
    later: &["host", "latency"],
    aliases: &[
        ("baudrate", "baud"),
        ("baud_rate", "baud"),
        ("speed", "baud"),
        ("bps", "baud"),
        ("device", "port"),
        ("tty", "port"),
        ("path", "port"),
        ("serial", "port"),
        ("bits", "data_bits"),
        ("databits", "data_bits"),
        ("bytesize", "data_bits"),
        ("stopbits", "stop_bits"),
        ("stop", "stop_bits"),
        ("type", "protocol"),
        ("mode", "protocol"),
        ("framing", "frame"),
        ("delimiter", "frame"),
        ("id", "name"),
    ],
};

pub const FRAME: Section = Section {
    title: "frame = { … }",
    keys: &[
        key("delimiter", Text, Required("\"\\r\\n\""), "what ends a frame, 1 to 16 bytes; not part of it"),
        key("max_length", Size("1B", "64KiB"), Is("1024"), "longest frame in bytes; a longer one is skipped and counted"),
    ],
    later: &["length", "fixed", "header", "checksum", "start"],
    aliases: &[
        ("separator", "delimiter"),
        ("terminator", "delimiter"),
        ("end", "delimiter"),
        ("eol", "delimiter"),
        ("max", "max_length"),
        ("max_bytes", "max_length"),
    ],
};

pub const DEVICE: Section = Section {
    title: "[[device]]",
    keys: &[
        key("name", Name, Required("\"main-meter\""), "second level of its topics"),
        key("bus", Text, Required("\"meters\""), "the name of its bus"),
        key("unit_id", Whole(1, 247), Required("1"), "`modbus-rtu`: its address on the line; needed there"),
        key("poll", Duration("1ms", "30d"), Is("\"10s\""), "`modbus-rtu`: how often its points are read"),
        key(
            "max_failures",
            Whole(1, 1_000),
            Is("3"),
            "`modbus-rtu`: after so many failures in a row it is bad, and asked again after 1, 2, 4 … 60 s",
        ),
        key("decode", Choice(&DECODERS), Required("\"regex\""), "`serial`: how fields are had from a frame; needed there"),
        key("pattern", Text, Required("'^T=(?<temp>[-\\d.]+)'"), "`decode = \"regex\"`: named groups are the fields; needed there"),
        key("separator", Text, Is("\",\""), "`decode = \"csv\"`: one character between columns"),
        key(
            "topic",
            Template,
            Depends("that of `[gateway]`", "\"{gateway}/{device}/{point}\""),
            "topic of each of its points that has none of its own",
        ),
        key("point", Tables(&POINT), ABSENT, "a value of the device"),
    ],
    later: &["template", "timeout", "max_gap", "max_registers"],
    aliases: &[
        ("slave", "unit_id"),
        ("slave_id", "unit_id"),
        ("unit", "unit_id"),
        ("address", "unit_id"),
        ("id", "unit_id"),
        ("unitid", "unit_id"),
        ("interval", "poll"),
        ("period", "poll"),
        ("poll_interval", "poll"),
        ("scan_rate", "poll"),
        ("regex", "pattern"),
        ("format", "decode"),
        ("delimiter", "separator"),
        ("points", "point"),
        ("retries", "max_failures"),
    ],
};

pub const POINT: Section = Section {
    title: "[[device.point]]",
    keys: &[
        key("name", Name, Required("\"voltage_l1\""), "third level of its topic"),
        key(
            "register",
            Form("`table:address`, table coil, discrete, input or holding, address from 0"),
            Required("\"input:0\""),
            "`modbus-rtu`: its first register or bit; needed there",
        ),
        key(
            "type",
            Choice(&TYPES),
            Depends("`\"u16\"`; `\"bool\"` for coils and discrete inputs", "\"f32\""),
            "`modbus-rtu`: how its registers are read; `bool` of a word is “not zero”",
        ),
        key(
            "order",
            Choice(&ORDERS),
            Is("\"ABCD\""),
            "`modbus-rtu`: order of its bytes on the wire, A the most significant; over 8 bytes by the same scheme",
        ),
        key("poll", Duration("1ms", "30d"), Depends("that of the device", "\"1s\""), "`modbus-rtu`: how often this point is read"),
        key(
            "field",
            WholeOrText,
            Required("\"temp\""),
            "`serial`: the pattern's group, the column from 0, or the JSON pointer `\"/a/b\"`; needed there",
        ),
        key("scale", Number, Is("1"), "value × scale + offset is published"),
        key("offset", Number, Is("0"), "as for `scale`"),
        key("unit", Text, None("\"V\""), "published with the value"),
        key("decimals", Whole(0, 15), None("1"), "digits after the point in the published text; as many as needed where it is not given"),
        key("deadband", Number, None("0.5"), "a value that differs by less from the last published one is not published"),
        key("max_silence", Duration("1ms", "30d"), None("\"5m\""), "published at least this often all the same, as far as readings come"),
        key("topic", Template, Depends("that of the device", "\"{gateway}/power/{point}\""), "its topic"),
    ],
    later: &["writable", "min", "max", "rule"],
    aliases: &[
        ("id", "name"),
        ("address", "register"),
        ("addr", "register"),
        ("reg", "register"),
        ("datatype", "type"),
        ("data_type", "type"),
        ("format", "type"),
        ("endian", "order"),
        ("byte_order", "order"),
        ("word_order", "order"),
        ("factor", "scale"),
        ("multiplier", "scale"),
        ("gain", "scale"),
        ("precision", "decimals"),
        ("digits", "decimals"),
        ("group", "field"),
        ("column", "field"),
        ("pointer", "field"),
        ("path", "field"),
        ("units", "unit"),
        ("interval", "poll"),
        ("period", "poll"),
        ("hysteresis", "deadband"),
        ("threshold", "deadband"),
    ],
};

const PROTOCOLS: Choices = Choices {
    known: &["modbus-rtu", "serial"],
    later: &["modbus-tcp", "modbus-ascii", "modbus-rtu-tcp"],
    aliases: &[
        ("modbus", "modbus-rtu"),
        ("rtu", "modbus-rtu"),
        ("tty", "serial"),
        ("raw", "serial"),
        ("ascii", "modbus-ascii"),
        ("tcp", "modbus-tcp"),
    ],
};

const PARITIES: Choices =
    Choices { known: &["none", "even", "odd"], later: &[], aliases: &[("n", "none"), ("no", "none"), ("e", "even"), ("o", "odd")] };

const DECODERS: Choices = Choices {
    known: &["regex", "csv", "json"],
    later: &["binary", "nmea", "p1"],
    aliases: &[("regexp", "regex"), ("re", "regex"), ("pattern", "regex"), ("dsmr", "p1"), ("nmea0183", "nmea")],
};

const TYPES: Choices = Choices {
    known: &["bool", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"],
    later: &["text", "bits", "u8", "i8", "bcd"],
    aliases: &[
        ("float", "f32"),
        ("float32", "f32"),
        ("real", "f32"),
        ("real32", "f32"),
        ("single", "f32"),
        ("double", "f64"),
        ("float64", "f64"),
        ("word", "u16"),
        ("uint", "u16"),
        ("uint16", "u16"),
        ("ushort", "u16"),
        ("short", "i16"),
        ("int", "i16"),
        ("int16", "i16"),
        ("s16", "i16"),
        ("dword", "u32"),
        ("uint32", "u32"),
        ("ulong", "u32"),
        ("int32", "i32"),
        ("s32", "i32"),
        ("long", "i32"),
        ("uint64", "u64"),
        ("int64", "i64"),
        ("s64", "i64"),
        ("bit", "bool"),
        ("boolean", "bool"),
        ("coil", "bool"),
        ("string", "text"),
        ("ascii", "text"),
    ],
};

const ORDERS: Choices = Choices {
    known: &["ABCD", "BADC", "CDAB", "DCBA"],
    later: &[],
    aliases: &[
        ("big", "ABCD"),
        ("big-endian", "ABCD"),
        ("be", "ABCD"),
        ("AB", "ABCD"),
        ("little", "DCBA"),
        ("little-endian", "DCBA"),
        ("le", "DCBA"),
        ("BA", "BADC"),
        ("1234", "ABCD"),
        ("2143", "BADC"),
        ("3412", "CDAB"),
        ("4321", "DCBA"),
        ("word-swap", "CDAB"),
        ("byte-swap", "BADC"),
        ("mixed", "CDAB"),
    ],
};
