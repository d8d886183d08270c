//! Python's pickle, read as data: the few opcodes and names that a PyTorch state dictionary needs.
//!
//! Nothing that a pickle names is run. Dictionaries, lists and tuples are built; names mean what [`Global`] says, and any
//! other name is refused. Source: CPython's `Lib/pickletools.py`, protocols 0 to 4.

use super::element::Element;
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A value that a pickle builds.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Integer(i64),
    /// An integer of more than 64 bits, little-endian.
    Long(&'a [u8]),
    Float,
    Text(&'a str),
    Tuple(Rc<[Value<'a>]>),
    /// Position among the pickle's lists.
    List(usize),
    /// Position among the pickle's dictionaries.
    Dictionary(usize),
    Global(Global),
    Storage(Rc<Storage<'a>>),
    Tensor(Rc<Tensor<'a>>),
}

/// The elements behind one or more tensors, by reference.
#[derive(Debug)]
pub(super) struct Storage<'a> {
    pub(super) element: Element,
    pub(super) key: &'a str,
}

/// A view of a storage, counted in elements.
#[derive(Debug)]
pub(super) struct Tensor<'a> {
    pub(super) storage: Rc<Storage<'a>>,
    pub(super) offset: usize,
    pub(super) sizes: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The names that a state dictionary may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
    Storage(Element),
}

impl Global {
    fn find(module: &str, name: &str) -> Result<Self> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "Size") => Self::Size,
            ("torch", "DoubleStorage") => Self::Storage(Element::F64),
            ("torch", "FloatStorage") => Self::Storage(Element::F32),
            ("torch", "HalfStorage") => Self::Storage(Element::F16),
            ("torch", "BFloat16Storage") => Self::Storage(Element::BF16),
            ("torch", "LongStorage") => Self::Storage(Element::I64),
            ("torch", "IntStorage") => Self::Storage(Element::I32),
            ("torch", "ShortStorage") => Self::Storage(Element::I16),
            ("torch", "CharStorage") => Self::Storage(Element::I8),
            ("torch", "ByteStorage") => Self::Storage(Element::U8),
            ("torch", "BoolStorage") => Self::Storage(Element::Bool),
            _ => {
                return Err(FormatError::unsupported(
                    format!("pickle global `{module}.{name}`"),
                    "expected a state dictionary, of tensors alone; nothing else is built and no code is run",
                ));
            }
        })
    }
}

/// What a pickle holds.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) root: Value<'a>,
    /// All storages that it refers to, by key.
    pub(super) storages: BTreeMap<&'a str, Rc<Storage<'a>>>,
    lists: Vec<Vec<Value<'a>>>,
    dictionaries: Vec<Vec<[Value<'a>; 2]>>,
}

impl<'a> Pickle<'a> {
    /// The entries of a dictionary; `None` for any other value.
    pub(super) fn entries(&self, value: &Value<'a>) -> Option<&[[Value<'a>; 2]]> {
        match *value {
            Value::Dictionary(dictionary) => self.dictionaries.get(dictionary).map(Vec::as_slice),
            _ => None,
        }
    }

    /// The items of a list; `None` for any other value.
    pub(super) fn items(&self, value: &Value<'a>) -> Option<&[Value<'a>]> {
        match *value {
            Value::List(list) => self.lists.get(list).map(Vec::as_slice),
            _ => None,
        }
    }
}

/// Reads the pickle at the start of `bytes`; the second value is what lies behind it.
pub(super) fn read<'a>(bytes: &'a [u8], budget: &mut Budget) -> Result<(Pickle<'a>, &'a [u8])> {
    let mut machine = Machine {
        rest: bytes,
        length: bytes.len(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
        storages: BTreeMap::new(),
        lists: Vec::new(),
        dictionaries: Vec::new(),
    };
    loop {
        // An opcode makes one value, or one entry of the memo, at most.
        budget.spend(2 * size_of::<Value<'_>>(), "pickle")?;
        if machine.step()? == Progress::Stopped {
            break;
        }
    }
    let root = machine.pop()?;
    let Machine { rest, storages, lists, dictionaries, .. } = machine;
    Ok((Pickle { root, storages, lists, dictionaries }, rest))
}

#[derive(PartialEq, Eq)]
enum Progress {
    Running,
    Stopped,
}

struct Machine<'a> {
    rest: &'a [u8],
    length: usize,
    stack: Vec<Value<'a>>,
    marks: Vec<usize>,
    memo: BTreeMap<u32, Value<'a>>,
    storages: BTreeMap<&'a str, Rc<Storage<'a>>>,
    lists: Vec<Vec<Value<'a>>>,
    dictionaries: Vec<Vec<[Value<'a>; 2]>>,
}

impl<'a> Machine<'a> {
    fn step(&mut self) -> Result<Progress> {
        let [opcode] = self.array()?;
        let value = match opcode {
            // PROTO and FRAME only announce.
            0x80 => {
                self.array::<1>()?;
                return Ok(Progress::Running);
            }
            0x95 => {
                self.array::<8>()?;
                return Ok(Progress::Running);
            }
            b'.' => return Ok(Progress::Stopped),
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(Progress::Running);
            }
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            b'K' => {
                let [value] = self.array()?;
                Value::Integer(value.into())
            }
            b'M' => Value::Integer(u16::from_le_bytes(self.array()?).into()),
            0x8a => self.long()?,
            b'G' => {
                self.array::<8>()?;
                Value::Float
            }
            b'X' | b'T' => {
                let length = u32::from_le_bytes(self.array()?);
                self.text(length.into())?
            }
            0x8c | b'U' => {
                let [length] = self.array()?;
                self.text(length.into())?
            }
            0x8d => {
                let length = u64::from_le_bytes(self.array()?);
                self.text(length)?
            }
            b')' => Value::Tuple(Rc::new([])),
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => Value::Tuple(self.pop_to_mark()?.into()),
            b']' => self.new_list(Vec::new()),
            b'l' => {
                let items = self.pop_to_mark()?;
                self.new_list(items)
            }
            b'a' => {
                let item = self.pop()?;
                self.list()?.push(item);
                return Ok(Progress::Running);
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.list()?.extend(items);
                return Ok(Progress::Running);
            }
            b'}' => self.new_dictionary(Vec::new()),
            b's' => {
                let [key, value] = self.pop_many()?;
                self.dictionary()?.push([key, value]);
                return Ok(Progress::Running);
            }
            b'u' => {
                let entries = pairs(self.pop_to_mark()?)?;
                self.dictionary()?.extend(entries);
                return Ok(Progress::Running);
            }
            b'q' => {
                let [place] = self.array()?;
                return self.remember_at(place.into());
            }
            b'r' => {
                let place = u32::from_le_bytes(self.array()?);
                return self.remember_at(place);
            }
            0x94 => {
                let next = u32::try_from(self.memo.len()).map_err(|_| self.wrong("has too large a memo"))?;
                return self.remember_at(next);
            }
            b'h' => {
                let [place] = self.array()?;
                self.recall(place.into())?
            }
            b'j' => {
                let place = u32::from_le_bytes(self.array()?);
                self.recall(place)?
            }
            b'c' => Value::Global(Global::find(self.line()?, self.line()?)?),
            0x93 => match self.pop_many()? {
                [Value::Text(module), Value::Text(name)] => Value::Global(Global::find(module, name)?),
                _ => return Err(self.wrong("names a global by something else than texts")),
            },
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            b'b' => {
                // The state of an ordered dictionary are the attributes of the object, `_metadata` in PyTorch.
                self.pop()?;
                self.dictionary()?;
                return Ok(Progress::Running);
            }
            other => {
                return Err(
                    self.wrong(&format!("expected the opcodes of a state dictionary, found {other:#04x}"))
                );
            }
        };
        self.stack.push(value);
        Ok(Progress::Running)
    }

    fn reduce(&mut self) -> Result<Value<'a>> {
        let [Value::Global(function), Value::Tuple(arguments)] = self.pop_many()? else {
            return Err(self.wrong("calls something else than a global"));
        };
        match (function, &*arguments) {
            (Global::OrderedDict, []) => Ok(self.new_dictionary(Vec::new())),
            (Global::OrderedDict, [Value::List(list)]) => {
                let entries = self.lists[*list].iter().map(|entry| match entry {
                    Value::Tuple(pair) => <[_; 2]>::try_from(pair.to_vec()).ok(),
                    Value::List(pair) => <[_; 2]>::try_from(self.lists[*pair].clone()).ok(),
                    _ => None,
                });
                let entries: Option<Vec<_>> = entries.collect();
                let entries = entries.ok_or_else(|| self.wrong("expected an ordered dictionary of pairs"))?;
                Ok(self.new_dictionary(entries))
            }
            (
                Global::RebuildTensor,
                [
                    Value::Storage(storage),
                    Value::Integer(offset),
                    Value::Tuple(sizes),
                    Value::Tuple(strides),
                    ..,
                ],
            ) => {
                let count = |value: &Value<'_>| match value {
                    Value::Integer(value) => usize::try_from(*value).ok(),
                    _ => None,
                };
                let sizes: Option<Vec<usize>> = sizes.iter().map(count).collect();
                let strides: Option<Vec<usize>> = strides.iter().map(count).collect();
                match (usize::try_from(*offset), sizes, strides) {
                    (Ok(offset), Some(sizes), Some(strides)) => {
                        let storage = Rc::clone(storage);
                        Ok(Value::Tensor(Rc::new(Tensor { storage, offset, sizes, strides })))
                    }
                    _ => Err(self.wrong("expected a tensor's offset, sizes and strides as counts")),
                }
            }
            (Global::RebuildParameter, [Value::Tensor(tensor), ..]) => Ok(Value::Tensor(Rc::clone(tensor))),
            (Global::Size, [Value::Tuple(sizes)]) => Ok(Value::Tuple(Rc::clone(sizes))),
            (function, _) => {
                Err(self.wrong(&format!("calls {function:?} with arguments that do not fit it")))
            }
        }
    }

    /// `("storage", type, key, location, count)`, and in the older format what it is a view of.
    fn persistent(&mut self) -> Result<Value<'a>> {
        let Value::Tuple(id) = self.pop()? else {
            return Err(self.wrong("refers to a storage by something else than a tuple"));
        };
        let [
            Value::Text("storage"),
            Value::Global(Global::Storage(element)),
            Value::Text(key),
            Value::Text(_),
            Value::Integer(_),
            view @ ..,
        ] = &*id
        else {
            return Err(self.wrong("expected a storage's type, key, location and count"));
        };
        if !matches!(view, [] | [Value::None]) {
            return Err(FormatError::unsupported(
                format!("pickle storage `{key}`"),
                "expected a storage of its own, found a view of another",
            ));
        }
        let storage = self.storages.entry(key).or_insert_with(|| Rc::new(Storage { element: *element, key }));
        if storage.element == *element {
            return Ok(Value::Storage(Rc::clone(storage)));
        }
        let other = storage.element;
        Err(self.wrong(&format!("expected storage `{key}` to be {other} as before, found {element}")))
    }

    fn tuple(&mut self, count: usize) -> Result<Value<'a>> {
        let start = self.stack.len().checked_sub(count).filter(|&start| start >= self.floor());
        let start = start.ok_or_else(|| self.wrong("takes more values than there are"))?;
        Ok(Value::Tuple(self.stack.drain(start..).collect()))
    }

    fn long(&mut self) -> Result<Value<'a>> {
        let [length] = self.array()?;
        let bytes = self.slice(length.into())?;
        let mut wide = [if bytes.last().is_some_and(|byte| byte >> 7 == 1) { 0xff } else { 0 }; 8];
        let Some(low) = wide.get_mut(..bytes.len()) else { return Ok(Value::Long(bytes)) };
        low.copy_from_slice(bytes);
        Ok(Value::Integer(i64::from_le_bytes(wide)))
    }

    fn new_list(&mut self, items: Vec<Value<'a>>) -> Value<'a> {
        self.lists.push(items);
        Value::List(self.lists.len() - 1)
    }

    fn new_dictionary(&mut self, entries: Vec<[Value<'a>; 2]>) -> Value<'a> {
        self.dictionaries.push(entries);
        Value::Dictionary(self.dictionaries.len() - 1)
    }

    /// The list on top of the stack.
    fn list(&mut self) -> Result<&mut Vec<Value<'a>>> {
        match self.stack.last() {
            Some(&Value::List(list)) => Ok(&mut self.lists[list]),
            Some(_) | None => Err(self.wrong("appends to what is no list")),
        }
    }

    /// The dictionary on top of the stack.
    fn dictionary(&mut self) -> Result<&mut Vec<[Value<'a>; 2]>> {
        match self.stack.last() {
            Some(&Value::Dictionary(dictionary)) => Ok(&mut self.dictionaries[dictionary]),
            Some(_) | None => Err(self.wrong("sets entries or attributes of what is no dictionary")),
        }
    }

    fn remember_at(&mut self, place: u32) -> Result<Progress> {
        let value = self.stack.last().cloned().ok_or_else(|| self.wrong("remembers a value before any"))?;
        self.memo.insert(place, value);
        Ok(Progress::Running)
    }

    fn recall(&self, place: u32) -> Result<Value<'a>> {
        self.memo
            .get(&place)
            .cloned()
            .ok_or_else(|| self.wrong(&format!("recalls value {place} before it is set")))
    }

    /// The lowest place of the stack that may be taken: values below a mark wait for what stands above.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        let value = if self.stack.len() > self.floor() { self.stack.pop() } else { None };
        value.ok_or_else(|| self.wrong("takes a value from an empty stack"))
    }

    fn pop_many<const N: usize>(&mut self) -> Result<[Value<'a>; N]> {
        let mut values = [const { Value::None }; N];
        for value in values.iter_mut().rev() {
            *value = self.pop()?;
        }
        Ok(values)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>> {
        let mark =
            self.marks.pop().ok_or_else(|| self.wrong("takes values down to a mark that is not set"))?;
        Ok(self.stack.split_off(mark))
    }

    fn text(&mut self, length: u64) -> Result<Value<'a>> {
        let length = usize::try_from(length).map_err(|_| self.wrong("ends within a text"))?;
        let bytes = self.slice(length)?;
        std::str::from_utf8(bytes).map(Value::Text).map_err(|_| self.wrong("expected texts in UTF-8"))
    }

    fn line(&mut self) -> Result<&'a str> {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let line = self.slice(end.ok_or_else(|| self.wrong("ends within a name"))?)?;
        self.array::<1>()?;
        std::str::from_utf8(line).map_err(|_| self.wrong("expected names in UTF-8"))
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8]> {
        let (slice, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| self.wrong("ends within a value"))?;
        self.rest = rest;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) =
            self.rest.split_first_chunk().ok_or_else(|| self.wrong("ends before its end mark"))?;
        self.rest = rest;
        Ok(*array)
    }

    fn wrong(&self, message: &str) -> FormatError {
        FormatError::invalid(format!("pickle before byte {}", self.length - self.rest.len()), message)
    }
}

fn pairs<'a>(values: Vec<Value<'a>>) -> Result<Vec<[Value<'a>; 2]>> {
    let mut values = values.into_iter();
    let mut pairs = Vec::with_capacity(values.len() / 2);
    while let Some(key) = values.next() {
        let value = values
            .next()
            .ok_or_else(|| FormatError::invalid("pickle", "expected a value for each key of a dictionary"))?;
        pairs.push([key, value]);
    }
    Ok(pairs)
}
