//! The ring as rows of the key database: sealing, opening, and the code over all of them.
//! docs/KMS.md, "Key database".

use std::collections::BTreeMap;
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::codec::Reader;
use crate::crypto::short::{open_short, seal_short};
use crate::kms::access::{Grant, GrantConstraints, GrantOperation, KeyPolicy};
use crate::kms::db::{RowChange, RowId, Rows, Table};
use crate::kms::key::{Deletion, Imported, KmsKey, Material, MultiRegion, Rotation};
use crate::kms::known_volumes::{decode_volume, encode_volume, volume_of_row, volume_row_id};
use crate::kms::ring::{Alias, KeyRing};
use crate::kms::root::RootKeys;
use crate::kms::spec::{KeyManager, KeySpec, KeyUsage, Origin, RotationType};
use crate::kms::store::SoftMaterial;
use crate::kms::time::Timestamp;
use crate::kms::{AliasName, EncryptionContext, KeyId, KeyState, MaterialId};
use crate::random::Random;

/// First byte of every row body.
const VERSION: u8 = 1;
/// First byte of the row of a key with grants. Once also of one with imported material.
const VERSION_WITH_GRANTS: u8 = 2;
/// First byte of the row of a key with imported or pending material, or of a multi-Region key.
const VERSION_WITH_MORE: u8 = 3;
/// First byte of the row of a multi-Region key that came by a bundle.
const VERSION_FROM_BUNDLE: u8 = 4;
/// First byte of the row of a material that is revoked.
const VERSION_REVOKED: u8 = 2;
/// Bytes of a row body that is read at all.
const ROW_LEN_MAX: usize = 1 << 20;

/// A row that does not open or does not make sense; names the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRow(pub(crate) String);

/// Content of a key's row.
#[derive(Encode, Decode)]
struct KeyRow {
    description: String,
    spec: String,
    usage: String,
    origin: String,
    manager: String,
    created: u64,
    state: String,
    rotation: Option<(u32, u64)>,
    on_demand_count: u32,
    deletion: Option<(u64, u32, Option<u64>)>,
    policy: String,
    tags: Vec<(String, String)>,
    materials: Vec<[u8; 32]>,
}

/// Content of the row of a key with grants. `imported` is no longer written: identity and expiry of
/// the one material that a key could have.
#[derive(Encode, Decode)]
struct KeyRowWithGrants {
    key: KeyRow,
    grants: Vec<GrantRow>,
    imported: Option<([u8; 32], Option<u64>)>,
}

/// Content of the row of a key that has anything else besides.
#[derive(Encode, Decode)]
struct KeyRowWithMore {
    key: KeyRow,
    grants: Vec<GrantRow>,
    imports: Vec<ImportRow>,
    pending: Option<[u8; 32]>,
    primary: Option<(String, u32)>,
}

/// Content of the row of a key that came by a bundle, and when that was made.
#[derive(Encode, Decode)]
struct KeyRowFromBundle {
    key: KeyRowWithMore,
    bundle: u64,
}

/// Imported material in its key's row.
#[derive(Encode, Decode)]
pub(crate) struct ImportRow {
    pub(crate) material: [u8; 32],
    expires: Option<u64>,
    description: Option<String>,
    is_pending: bool,
    since: u64,
    rotation: Option<String>,
}

impl From<KeyRowWithGrants> for KeyRowWithMore {
    fn from(old: KeyRowWithGrants) -> Self {
        let since = old.key.created;
        let imports = old.imported.map(|(material, expires)| ImportRow {
            material,
            expires,
            description: None,
            is_pending: false,
            since,
            rotation: None,
        });
        let imports = Vec::from_iter(imports);
        Self { key: old.key, grants: old.grants, imports, pending: None, primary: None }
    }
}

/// A grant in its key's row.
#[derive(Encode, Decode)]
struct GrantRow {
    id: String,
    token: String,
    name: Option<String>,
    grantee: String,
    retiring: Option<String>,
    operations: Vec<String>,
    context_equals: Option<Vec<(String, String)>>,
    context_subset: Option<Vec<(String, String)>>,
    issuer: String,
    created: u64,
}

/// Content of a material's row, but for the material itself.
#[derive(Encode, Decode)]
struct MaterialRow {
    since: u64,
    rotation: Option<String>,
}

/// The same of a material that is revoked.
#[derive(Encode, Decode)]
struct RevokedMaterialRow {
    material: MaterialRow,
    revoked: u64,
}

/// Content of an alias' row.
#[derive(Encode, Decode)]
struct AliasRow {
    target: String,
    created: u64,
    updated: u64,
}

/// What has to be written to come from one ring to another.
pub(crate) fn difference(
    old: &KeyRing,
    new: &KeyRing,
    keys: &RootKeys,
    random: &dyn Random,
) -> RowChange {
    let mut change = RowChange::default();
    for (id, key) in &new.keys {
        let before = old.keys.get(id);
        if before.is_some_and(|before| Arc::ptr_eq(before, key)) {
            continue;
        }
        change.put(key_row_id(id), encode_key(key, keys, random));
        // A pending material that becomes the current one gets another description.
        let is_as_before = |material: &Arc<Material>| {
            before.is_some_and(|key| key.all_materials().any(|old| Arc::ptr_eq(old, material)))
        };
        for material in key.all_materials().filter(|material| !is_as_before(material)) {
            let row = material_row_id(id, &material.id);
            let body = encode_material(&row, material, keys, random);
            change.put(row, body);
        }
    }
    for (id, key) in &old.keys {
        let after = new.keys.get(id);
        if after.is_none() {
            change.delete(key_row_id(id));
        }
        let has = |id: &MaterialId| after.is_some_and(|key| key.find_material(id).is_some());
        for material in key.all_materials().filter(|material| !has(&material.id)) {
            change.delete(material_row_id(id, &material.id));
        }
    }
    for (name, alias) in &new.aliases {
        if old.aliases.get(name) != Some(alias) {
            change.put(alias_row_id(name), encode_alias(alias));
        }
    }
    for name in old.aliases.keys().filter(|name| !new.aliases.contains_key(*name)) {
        change.delete(alias_row_id(name));
    }
    if new.noted != old.noted {
        change.put(RowId::new(Table::Meta, META_CLOCK), new.noted.0.to_le_bytes().to_vec());
    }
    for (id, slot) in new.slots.iter().filter(|(id, slot)| old.slots.get(*id) != Some(*slot)) {
        change.put(RowId::new(Table::Slots, id), slot.clone());
    }
    for id in old.slots.keys().filter(|id| !new.slots.contains_key(*id)) {
        change.delete(RowId::new(Table::Slots, id));
    }
    for (id, volume) in &new.volumes {
        if old.volumes.get(id) != Some(volume) {
            let row = volume_row_id(id);
            let body = encode_volume(&row, volume, &keys.rows, random);
            change.put(row, body);
        }
    }
    for id in old.volumes.keys().filter(|id| !new.volumes.contains_key(*id)) {
        change.delete(volume_row_id(id));
    }
    change
}

/// The ring that the rows hold. Keys that did not change since `known` are taken from there.
pub(crate) fn decode_ring(
    rows: &Rows,
    keys: &RootKeys,
    known: Option<(&Rows, &KeyRing)>,
) -> Result<KeyRing, BadRow> {
    let text = |name: &str| {
        let row = RowId::new(Table::Meta, name);
        let bytes = rows.get(&row).ok_or_else(|| bad(&row))?;
        String::from_utf8(bytes.clone()).map_err(|_| bad(&row))
    };
    let mut ring = KeyRing::new(&text(META_REGION)?, &text(META_ACCOUNT)?);
    for (row, body) in rows {
        match row.table {
            Table::Meta if row.id == META_CLOCK => {
                let time = body.as_slice().try_into().map_err(|_| bad(row))?;
                ring.noted = Timestamp(u64::from_le_bytes(time));
            }
            Table::Meta => {
                if let Some(id) = volume_of_row(row) {
                    let volume = decode_volume(row, body, &keys.rows)?;
                    ring.volumes.insert(id.to_owned(), Arc::new(volume));
                }
            }
            Table::Slots => {
                ring.slots.insert(row.id.clone(), body.clone());
            }
            Table::Materials => {}
            Table::Keys => {
                let id = KeyId::parse(&row.id).ok_or_else(|| bad(row))?;
                let unchanged = known
                    .filter(|(known, _)| known.get(row) == Some(body))
                    .and_then(|(_, ring)| ring.keys.get(&id).cloned());
                let key = match unchanged {
                    Some(key) => key,
                    None => Arc::new(decode_key(&ring, &id, body, rows, keys)?),
                };
                ring.keys.insert(id, key);
            }
            Table::Aliases => {
                let name = AliasName::parse(&row.id).ok_or_else(|| bad(row))?;
                ring.aliases.insert(name, decode_alias(row, body)?);
            }
        }
    }
    let holds = |alias: &Alias| ring.keys.contains_key(&alias.target);
    if let Some((name, _)) = ring.aliases.iter().find(|(_, alias)| !holds(alias)) {
        return Err(bad(&alias_row_id(name)));
    }
    ring.set_service_policies();
    Ok(ring)
}

/// Name of the meta row with the Region.
pub(crate) const META_REGION: &str = "region";
/// Name of the meta row with the account.
pub(crate) const META_ACCOUNT: &str = "account";
/// Name of the meta row with the database's own 16 random bytes.
pub(crate) const META_DATABASE: &str = "database";
/// Name of the meta row with the head of the audit chain.
pub(crate) const META_AUDIT: &str = "audit";

/// Name of the meta row with a time that was believed.
pub(crate) const META_CLOCK: &str = "clock";
/// Name of the meta row that marks a database of a test clock; its body is empty.
pub(crate) const META_TEST_CLOCK: &str = "test-clock";

/// The authentication code over all rows and the revision.
pub(crate) fn ring_mac(rows: &Rows, revision: u64, keys: &RootKeys) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(4096);
    bytes.extend_from_slice(&revision.to_le_bytes());
    for (row, body) in rows {
        bytes.push(row.table.number());
        push_with_len(&mut bytes, row.id.as_bytes());
        push_with_len(&mut bytes, body);
    }
    keys.ring.tag(&[&bytes])
}

fn push_with_len(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn key_row_id(id: &KeyId) -> RowId {
    RowId::new(Table::Keys, id.as_str())
}

fn material_row_id(key: &KeyId, material: &MaterialId) -> RowId {
    RowId::new(Table::Materials, &format!("{key}/{material}"))
}

fn alias_row_id(name: &AliasName) -> RowId {
    RowId::new(Table::Aliases, name.as_str())
}

fn encode_key(key: &KmsKey, keys: &RootKeys, random: &dyn Random) -> Vec<u8> {
    let row = KeyRow {
        description: key.description.clone(),
        spec: key.spec.as_str().to_owned(),
        usage: key.usage.as_str().to_owned(),
        origin: key.origin.as_str().to_owned(),
        manager: key.manager.as_str().to_owned(),
        created: key.created.0,
        state: key.state.as_str().to_owned(),
        rotation: key.rotation.map(|rotation| (rotation.period_days, rotation.next.0)),
        on_demand_count: key.on_demand_count,
        deletion: key.deletion.map(|deletion| {
            (deletion.at.0, deletion.window_days, deletion.seen_due.map(|time| time.0))
        }),
        policy: key.policy.text.clone(),
        tags: key.tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        materials: key.materials.iter().map(|material| material.id.0).collect(),
    };
    let has_more = key.multi_region.is_some() || key.pending.is_some() || !key.imports.is_empty();
    let grants: Vec<GrantRow> = key.grants.iter().map(|grant| grant_row(grant)).collect();
    let (version, plain) = if has_more {
        let imports = key.imports.iter().map(import_row).collect();
        let pending = key.pending.as_ref().map(|material| material.id.0);
        let related = key.multi_region.as_ref();
        let primary = related.map(|related| (related.primary.clone(), related.term));
        let row = KeyRowWithMore { key: row, grants, imports, pending, primary };
        match related.and_then(|related| related.bundle) {
            Some(time) => {
                let row = KeyRowFromBundle { key: row, bundle: time.0 };
                (VERSION_FROM_BUNDLE, to_bytes(&row))
            }
            None => (VERSION_WITH_MORE, to_bytes(&row)),
        }
    } else if grants.is_empty() {
        (VERSION, to_bytes(&row))
    } else {
        (VERSION_WITH_GRANTS, to_bytes(&KeyRowWithGrants { key: row, grants, imported: None }))
    };
    let mut body = vec![version];
    let aad = key_row_id(&key.id).additional_data(&[]);
    body.extend_from_slice(&seal_short(&keys.rows.0, &aad, &plain, random));
    body
}

pub(crate) fn import_row(imported: &Imported) -> ImportRow {
    ImportRow {
        material: imported.material.0,
        expires: imported.expires.map(|time| time.0),
        description: imported.description.clone(),
        is_pending: imported.is_pending,
        since: imported.since.0,
        rotation: imported.rotation.map(|rotation| rotation.as_str().to_owned()),
    }
}

pub(crate) fn decode_import(row: ImportRow) -> Option<Imported> {
    Some(Imported {
        material: MaterialId(row.material),
        expires: row.expires.map(Timestamp),
        description: row.description,
        is_pending: row.is_pending,
        since: Timestamp(row.since),
        rotation: decode_rotation(row.rotation)?,
    })
}

/// `Some(None)` if there was none, `None` if there is no such one.
pub(crate) fn decode_rotation(text: Option<String>) -> Option<Option<RotationType>> {
    match text {
        Some(text) => RotationType::parse(&text).map(Some),
        None => Some(None),
    }
}

fn grant_row(grant: &Grant) -> GrantRow {
    let pairs = |context: &EncryptionContext| {
        context.pairs().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    GrantRow {
        id: grant.id.clone(),
        token: grant.token.clone(),
        name: grant.name.clone(),
        grantee: grant.grantee.clone(),
        retiring: grant.retiring.clone(),
        operations: grant.operations.iter().map(|o| o.as_str().to_owned()).collect(),
        context_equals: grant.constraints.equals.as_ref().map(pairs),
        context_subset: grant.constraints.subset.as_ref().map(pairs),
        issuer: grant.issuer.clone(),
        created: grant.created.0,
    }
}

fn decode_grant(row: GrantRow) -> Option<Arc<Grant>> {
    let context = |pairs: Vec<(String, String)>| {
        let mut context = EncryptionContext::new();
        for (key, value) in pairs {
            context.insert(&key, &value).ok()?;
        }
        Some(context)
    };
    let constraint = |pairs: Option<Vec<(String, String)>>| match pairs {
        Some(pairs) => context(pairs).map(Some),
        None => Some(None),
    };
    let operations = row.operations.iter().map(|o| GrantOperation::parse(o)).collect::<Option<_>>();
    Some(Arc::new(Grant {
        id: row.id,
        token: row.token,
        name: row.name,
        grantee: row.grantee,
        retiring: row.retiring,
        operations: operations?,
        constraints: GrantConstraints {
            equals: constraint(row.context_equals)?,
            subset: constraint(row.context_subset)?,
        },
        issuer: row.issuer,
        created: Timestamp(row.created),
    }))
}

fn decode_key(
    ring: &KeyRing,
    id: &KeyId,
    body: &[u8],
    rows: &Rows,
    keys: &RootKeys,
) -> Result<KmsKey, BadRow> {
    let row_id = key_row_id(id);
    let wrong = || bad(&row_id);
    let (version, sealed) = body.split_first().ok_or_else(wrong)?;
    let aad = row_id.additional_data(&[]);
    let plain = open_short(&keys.rows.0, &aad, sealed).map_err(|_| wrong())?;
    let mut bundle = None;
    let row: Option<KeyRowWithMore> = match *version {
        VERSION => from_bytes(&plain)
            .map(|key| KeyRowWithGrants { key, grants: Vec::new(), imported: None }.into()),
        VERSION_WITH_GRANTS => from_bytes::<KeyRowWithGrants>(&plain).map(Into::into),
        VERSION_WITH_MORE => from_bytes(&plain),
        VERSION_FROM_BUNDLE => from_bytes::<KeyRowFromBundle>(&plain).map(|row| {
            bundle = Some(Timestamp(row.bundle));
            row.key
        }),
        _ => None,
    };
    let KeyRowWithMore { key: row, grants, imports, pending, primary } = row.ok_or_else(wrong)?;
    let grants = grants.into_iter().map(decode_grant).collect::<Option<_>>().ok_or_else(wrong)?;
    let imports = imports.into_iter().map(decode_import).collect::<Option<_>>();
    let kind = (
        KeySpec::parse(&row.spec).ok_or_else(wrong)?,
        KeyUsage::parse(&row.usage).ok_or_else(wrong)?,
    );
    let load = |material: [u8; 32]| {
        let row = material_row_id(id, &MaterialId(material));
        let body = rows.get(&row).ok_or_else(|| bad(&row))?;
        decode_material(&row, MaterialId(material), kind, body, keys).map(Arc::new)
    };
    let materials = row.materials.into_iter().map(load).collect::<Result<_, _>>()?;
    let pending = pending.map(load).transpose()?;
    Ok(KmsKey {
        id: id.clone(),
        arn: ring.arn_of(id),
        description: row.description,
        spec: kind.0,
        usage: kind.1,
        origin: Origin::parse(&row.origin).ok_or_else(wrong)?,
        manager: KeyManager::parse(&row.manager).ok_or_else(wrong)?,
        created: Timestamp(row.created),
        state: KeyState::parse(&row.state).ok_or_else(wrong)?,
        rotation: row
            .rotation
            .map(|(period_days, next)| Rotation { period_days, next: Timestamp(next) }),
        on_demand_count: row.on_demand_count,
        deletion: row.deletion.map(|(at, window_days, seen_due)| Deletion {
            at: Timestamp(at),
            window_days,
            seen_due: seen_due.map(Timestamp),
        }),
        policy: KeyPolicy::of_accepted(row.policy),
        grants,
        tags: BTreeMap::from_iter(row.tags),
        imports: imports.ok_or_else(wrong)?,
        materials,
        pending,
        multi_region: primary.map(|(primary, term)| MultiRegion { primary, term, bundle }),
    })
}

/// `version | length of the description 2 | description | sealed material`. The description is bound
/// to the sealed material. Version 2 is a material that is revoked.
fn encode_material(
    row: &RowId,
    material: &Material,
    keys: &RootKeys,
    random: &dyn Random,
) -> Vec<u8> {
    let plain = MaterialRow {
        since: material.since.0,
        rotation: material.rotation.map(|rotation| rotation.as_str().to_owned()),
    };
    let (version, description) = match material.revoked {
        None => (VERSION, to_bytes(&plain)),
        Some(time) => {
            (VERSION_REVOKED, to_bytes(&RevokedMaterialRow { material: plain, revoked: time.0 }))
        }
    };
    let aad = row.additional_data(&description);
    let sealed = material.held.to_row(&keys.rows, &aad, random).unwrap_or_default();
    let mut body = vec![version];
    body.extend_from_slice(&u16::try_from(description.len()).unwrap_or(u16::MAX).to_le_bytes());
    body.extend_from_slice(&description);
    body.extend_from_slice(&sealed);
    body
}

fn decode_material(
    row: &RowId,
    id: MaterialId,
    (spec, usage): (KeySpec, KeyUsage),
    body: &[u8],
    keys: &RootKeys,
) -> Result<Material, BadRow> {
    let mut reader = Reader::new(body);
    let wrong = || bad(row);
    let version = reader.u8().map_err(|_| wrong())?;
    let len = usize::from(reader.u16().map_err(|_| wrong())?);
    let description = reader.bytes(len).map_err(|_| wrong())?;
    let aad = row.additional_data(description);
    let held = SoftMaterial::from_row(spec, usage, &keys.rows, &aad, reader.rest());
    let held = held.ok_or_else(wrong)?;
    let (description, revoked) = match version {
        VERSION => (from_bytes(description).ok_or_else(wrong)?, None),
        VERSION_REVOKED => {
            let row: RevokedMaterialRow = from_bytes(description).ok_or_else(wrong)?;
            (row.material, Some(Timestamp(row.revoked)))
        }
        _ => return Err(wrong()),
    };
    let description: MaterialRow = description;
    let rotation = decode_rotation(description.rotation).ok_or_else(wrong)?;
    let since = Timestamp(description.since);
    Ok(Material { id, since, rotation, revoked, held: Arc::new(held) })
}

fn encode_alias(alias: &Alias) -> Vec<u8> {
    let mut body = vec![VERSION];
    body.extend_from_slice(&to_bytes(&AliasRow {
        target: alias.target.as_str().to_owned(),
        created: alias.created.0,
        updated: alias.updated.0,
    }));
    body
}

fn decode_alias(row: &RowId, body: &[u8]) -> Result<Alias, BadRow> {
    let plain = body.strip_prefix(&[VERSION]).ok_or_else(|| bad(row))?;
    let alias: AliasRow = from_bytes(plain).ok_or_else(|| bad(row))?;
    Ok(Alias {
        target: KeyId::parse(&alias.target).ok_or_else(|| bad(row))?,
        created: Timestamp(alias.created),
        updated: Timestamp(alias.updated),
    })
}

pub(crate) fn to_bytes(value: &impl Encode) -> Vec<u8> {
    // Writing to memory fails only for types that none of the rows has.
    bincode::encode_to_vec(value, bincode::config::standard()).unwrap_or_default()
}

pub(crate) fn from_bytes<T: Decode<()>>(bytes: &[u8]) -> Option<T> {
    let config = bincode::config::standard().with_limit::<ROW_LEN_MAX>();
    let (value, used) = bincode::decode_from_slice(bytes, config).ok()?;
    (used == bytes.len()).then_some(value)
}

pub(crate) fn bad(row: &RowId) -> BadRow {
    BadRow(format!("row {} of {}", row.id, row.table.name()))
}
