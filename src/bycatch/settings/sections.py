"""All sections of settings, one per step."""

from __future__ import annotations

import typing
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from bycatch.settings.align import AlignSettings
from bycatch.settings.detect import CrmaskSettings, DetectSettings
from bycatch.settings.input import InputSettings, SortSettings
from bycatch.settings.measure import FinalizeSettings, MeasureSettings, PsfSettings
from bycatch.settings.output import FetchSettings, ObjectsSettings, OutputSettings
from bycatch.settings.section import Section
from bycatch.settings.simulate import InjectSettings, SimulateSettings


class Sections(Section):
    """The sections by name, in the order of `bycatch config`."""

    input: InputSettings = InputSettings()
    sort: SortSettings = SortSettings()
    detect: DetectSettings = DetectSettings()
    crmask: CrmaskSettings = CrmaskSettings()
    align: AlignSettings = AlignSettings()
    psf: PsfSettings = PsfSettings()
    measure: MeasureSettings = MeasureSettings()
    finalize: FinalizeSettings = FinalizeSettings()
    objects: ObjectsSettings = ObjectsSettings()
    output: OutputSettings = OutputSettings()
    fetch: FetchSettings = FetchSettings()
    simulate: SimulateSettings = SimulateSettings()
    inject: InjectSettings = InjectSettings()


def walk() -> Iterator[tuple[str, str, FieldInfo]]:
    """Yield (section, name, field) of every setting, in order."""
    for section, holder in Sections.model_fields.items():
        model = typing.cast("type[Section]", holder.annotation)
        for name, info in model.model_fields.items():
            yield section, name, info
