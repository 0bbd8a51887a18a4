"""The operations of AWS KMS as AWS' own tools have them: by operation and member the option's name and kind."""

import json

import botocore.session
from botocore import xform_name

KINDS = {"string": "Text", "blob": "Blob", "boolean": "Flag", "integer": "Integer", "map": "Map",
         "structure": "Structure", "timestamp": "Time"}
LISTS = {"string": "Strings", "structure": "Structures"}


def kind(shape):
    return LISTS[shape.member.type_name] if shape.type_name == "list" else KINDS[shape.type_name]


model = botocore.session.get_session().get_service_model("kms")
operations = {}
for name in model.operation_names:
    shape = model.operation_model(name).input_shape
    members = shape.members if shape else {}
    operations[name] = {member: (f"--{xform_name(member, '-')}", kind(of)) for member, of in members.items()}
print(json.dumps(operations))
