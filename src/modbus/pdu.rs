//! Reads and their replies, without what a line adds (Modbus Application Protocol 1.1b3, 6.1 to 6.4 and 7).

use super::{RegisterAddress, Table};

/// Illegal function, data address and data value (Application Protocol 1.1b3, 7).
pub const ILLEGAL_FUNCTION: u8 = 1;
pub const ILLEGAL_ADDRESS: u8 = 2;
pub const ILLEGAL_VALUE: u8 = 3;

/// Set in the function code of an exception.
pub const EXCEPTION_FLAG: u8 = 0x80;

/// Most registers (125) or coils (2,000) of one read: its reply still fits into 253 bytes.
pub const fn quantity_max(table: Table) -> u16 {
    if table.is_bits() { 2_000 } else { 125 }
}

/// Bytes of data in the reply to a read of `quantity`.
pub const fn data_length(table: Table, quantity: u16) -> usize {
    if table.is_bits() { (quantity as usize).div_ceil(8) } else { quantity as usize * 2 }
}

/// A request for the registers or coils `first ..  first + quantity`. Within all limits by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Read {
    first: RegisterAddress,
    quantity: u16,
}

impl Read {
    /// `None` if the quantity is 0 or above [`quantity_max`], or reaches beyond address 65,535.
    pub const fn new(first: RegisterAddress, quantity: u16) -> Option<Self> {
        let fits = first.address as u32 + quantity as u32 <= 1 << 16;
        if quantity == 0 || quantity > quantity_max(first.table) || !fits { None } else { Some(Self { first, quantity }) }
    }

    pub const fn first(self) -> RegisterAddress {
        self.first
    }

    pub const fn quantity(self) -> u16 {
        self.quantity
    }

    /// Bytes of data in its reply.
    pub const fn data_length(self) -> usize {
        data_length(self.first.table, self.quantity)
    }

    pub const fn encode(self) -> [u8; 5] {
        let [address_high, address_low] = self.first.address.to_be_bytes();
        let [quantity_high, quantity_low] = self.quantity.to_be_bytes();
        [self.first.table.function(), address_high, address_low, quantity_high, quantity_low]
    }

    /// What a slave reads.
    ///
    /// # Errors
    /// The exception code to answer with.
    pub fn decode(pdu: &[u8]) -> Result<Self, u8> {
        let (function, fields) = pdu.split_first().ok_or(ILLEGAL_FUNCTION)?;
        let table = Table::from_function(*function).ok_or(ILLEGAL_FUNCTION)?;
        let &[address_high, address_low, quantity_high, quantity_low] = fields else { return Err(ILLEGAL_VALUE) };
        let address = u16::from_be_bytes([address_high, address_low]);
        let quantity = u16::from_be_bytes([quantity_high, quantity_low]);
        if quantity == 0 || quantity > quantity_max(table) {
            return Err(ILLEGAL_VALUE);
        }
        Self::new(RegisterAddress { table, address }, quantity).ok_or(ILLEGAL_ADDRESS)
    }
}

/// What a slave answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The data of a read: words with the high byte first, or coils with the first one lowest.
    Data {
        table: Table,
        data: Vec<u8>,
    },
    Exception {
        function: u8,
        code: u8,
    },
}

impl Reply {
    /// Registers as a reply to a read of `table`. What is beyond the limit of one read is left out.
    pub fn words(table: Table, words: &[u16]) -> Self {
        let words = words.iter().take(quantity_max(table).into());
        Self::Data { table, data: words.flat_map(|word| word.to_be_bytes()).collect() }
    }

    /// Coils as a reply to a read of `table`. What is beyond the limit of one read is left out.
    pub fn bits(table: Table, bits: &[bool]) -> Self {
        let bits = bits.get(..quantity_max(table).into()).unwrap_or(bits);
        let byte = |chunk: &[bool]| chunk.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        Self::Data { table, data: bits.chunks(8).map(byte).collect() }
    }

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Data { table, data } => {
                // The constructors keep to 250 bytes; a longer one made by hand is cut, since its count would not fit.
                let data = data.get(..250).unwrap_or(data);
                let mut pdu = vec![table.function(), data.len() as u8];
                pdu.extend_from_slice(data);
                pdu
            }
            Self::Exception { function, code } => vec![function | EXCEPTION_FLAG, *code],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(table: Table, address: u16) -> RegisterAddress {
        RegisterAddress { table, address }
    }

    /// The examples of Application Protocol 1.1b3, 6.1 to 6.4.
    #[test]
    fn reads_and_replies_are_those_of_the_standard() {
        for (first, quantity, request) in [
            (at(Table::Coil, 0x13), 0x13, [0x01, 0x00, 0x13, 0x00, 0x13]),
            (at(Table::Discrete, 0xc4), 0x16, [0x02, 0x00, 0xc4, 0x00, 0x16]),
            (at(Table::Holding, 0x6b), 0x03, [0x03, 0x00, 0x6b, 0x00, 0x03]),
            (at(Table::Input, 0x08), 0x01, [0x04, 0x00, 0x08, 0x00, 0x01]),
        ] {
            let read = Read::new(first, quantity).unwrap();
            assert_eq!(read.encode(), request);
            assert_eq!(Read::decode(&request), Ok(read));
        }
        let coils = "1011001111010110101".chars().map(|c| c == '1').collect::<Vec<_>>();
        assert_eq!(Reply::bits(Table::Coil, &coils).encode(), [0x01, 0x03, 0xcd, 0x6b, 0x05]);
        assert_eq!(Reply::words(Table::Holding, &[0x022b, 0, 0x64]).encode(), [0x03, 0x06, 0x02, 0x2b, 0x00, 0x00, 0x00, 0x64]);
        assert_eq!(Reply::Exception { function: 1, code: ILLEGAL_ADDRESS }.encode(), [0x81, 0x02]);
    }

    #[test]
    fn a_read_keeps_to_the_limits() {
        for (first, quantity, fits) in [
            (at(Table::Holding, 0), 0, false),
            (at(Table::Holding, 0), 125, true),
            (at(Table::Holding, 0), 126, false),
            (at(Table::Coil, 0), 2_000, true),
            (at(Table::Coil, 0), 2_001, false),
            (at(Table::Input, 65_535), 1, true),
            (at(Table::Input, 65_535), 2, false),
        ] {
            assert_eq!(Read::new(first, quantity).is_some(), fits, "{first:?} {quantity}");
        }
    }

    #[test]
    fn what_a_slave_cannot_read_names_its_exception() {
        for (pdu, want) in [
            (&[][..], ILLEGAL_FUNCTION),
            (&[0x2b, 0x0e, 1, 0], ILLEGAL_FUNCTION),
            (&[3, 0, 0, 0], ILLEGAL_VALUE),
            (&[3, 0, 0, 0, 0], ILLEGAL_VALUE),
            (&[3, 0, 0, 0, 126], ILLEGAL_VALUE),
            (&[4, 0xff, 0xff, 0, 2], ILLEGAL_ADDRESS),
        ] {
            assert_eq!(Read::decode(pdu), Err(want), "{pdu:?}");
        }
    }
}
