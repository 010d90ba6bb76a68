"""The page of a model of noise → image: seeds and what lies between them, and the image in view all the time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_tasks.apps.web import components
from gan_tasks.apps.web.fields import LARGEST_SEED, Values, random_seed
from gan_tasks.apps.web.job_queue import JobProgress, Service
from gan_tasks.apps.web.outputs import Job, follow_job
from gan_tasks.apps.web.run_form import new_folder
from gan_tasks.apps.web.served_models import ServedModel, Tab
from gan_tasks.apps.web.synthesis import sections
from gan_tasks.apps.web.synthesis.grid import CHOSEN_SEED, grid_html
from gan_tasks.apps.web.synthesis.images import (
    Editor,
    Found,
    Image,
    Named,
    find_latent,
    make_grid,
    make_image,
    mixed_point,
    moved,
    opened_point,
    point_between,
    space_of,
)
from gan_tasks.apps.web.synthesis.stage import Stage, Turn, build_stage
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels
from gan_tasks.export.inference.synthesis.inputs import latent_input

if TYPE_CHECKING:
    import gradio as gr
    from gradio.blocks import Block
    from gradio.components.base import Component

WITHOUT_WEIGHTS = (
    "Mixing seeds, finding directions and finding the latent of a picture need the weights of a network of the task "
    "synthesis: serve its run folder or its public checkpoint to have them here."
)

IS_KEPT = "The latent of a picture is being found: wait for it, or stop it first."


def build(service: Service, tab: Tab) -> None:
    """Add the page of one tab to the Gradio blocks that are open."""
    build_page(service, tab.models[0])
    components.about(tab)


def build_page(service: Service, served: ServedModel) -> GeneratePage:
    """Add the page of a model to the Gradio blocks that are open, and join its parts."""
    import gradio as gr

    latent, space = latent_input(served.model), space_of(served)
    editor = None if space is None else Editor(space)
    with gr.Row(elem_classes="columns generator"):
        with gr.Column(elem_classes="controls"):
            seeds = sections.seed_inputs(served.spec)
            grid = sections.grid_section()
            between = sections.between_section()
            mix = sections.mix_section(space.layer_count) if space is not None and space.layer_count > 1 else None
            edit = sections.move_section(latent) if space is None else sections.direction_section(space)
            invert = None if space is None else sections.invert_section()
            opened = sections.open_section()
            suffix = components.settings()
            if space is None:
                sections.hint(WITHOUT_WEIGHTS)
        with gr.Column(elem_classes="view"):
            stage = build_stage()
    page = GeneratePage(
        service, served, editor, gr.State(), seeds, grid, between, mix, edit, invert, opened, suffix, stage
    )
    page.join()
    return page


@dataclass(frozen=True)
class GeneratePage:
    """The parts of a page, which its events join to the model.

    editor: finds the directions of `edit`; None for a model without a latent space.
    base: the `Named` point that was shown last, before it was edited; None at first.
    """

    service: Service
    served: ServedModel
    editor: Editor | None
    base: gr.State
    seeds: sections.SeedInputs
    grid: sections.GridSection
    between: sections.BetweenSection
    mix: sections.MixSection | None
    edit: sections.EditSection
    invert: sections.InvertSection | None
    opened: Component
    suffix: gr.Radio
    stage: Stage

    def join(self) -> None:
        seeds, grid, between, edit = self.seeds, self.grid, self.between, self.edit
        given = seeds.components()
        self.on(seeds.run.click, self.generate, given)
        drawn = self.change(seeds.random.click, random_seed, [seeds.seed])
        self.on(drawn.then, self.generate, given)
        for chosen in (seeds.label, seeds.truncation):
            if chosen is not None:
                self.on(chosen.input, self.generate, given, live=True)
        self.on(grid.run.click, self.show_grid, [grid.first, grid.count, *given])
        turned = self.change(grid.further.click, following, [grid.first], [grid.first, grid.count])
        self.on(turned.then, self.show_grid, [grid.first, grid.count, *given])
        picked = self.change(grid.grid.click, None, [seeds.seed], js=CHOSEN_SEED)
        self.on(picked.then, self.generate, given)
        self.on(between.position.input, self.interpolate, [*between.components(), *given], live=True)
        if self.mix is not None:
            self.on(self.mix.layers.input, self.mix_seeds, [*self.mix.components(), *given], live=True)
        for amount in edit.amounts:
            self.on(amount.input, self.edit_image, [*edit.components(), *given], live=True)
        undoing = [edit.reset.click] if edit.method is None else [edit.reset.click, edit.method.input]
        for event in undoing:
            back = self.change(event, lambda: dict.fromkeys(edit.amounts, 0), edit.amounts)
            self.on(back.then, self.edit_image, [*edit.components(), *given])
        if self.invert is not None:
            self.on(self.invert.run.click, self.find, [self.invert.picture, self.invert.steps, *given], is_kept=True)
        self.on(self.opened.upload, self.open, [self.opened])  # type: ignore[attr-defined]

    def change(
        self,
        event: Callable[..., Any],
        function: Callable[..., Any] | None,
        outputs: list[Any],
        inputs: list[Component] | None = None,
        *,
        js: str | None = None,
    ) -> Any:
        """Let an event change inputs of the page at once; returns what another event can follow."""
        return event(function, inputs, outputs, js=js, show_progress="hidden", api_visibility="private")

    def on(
        self,
        event: Callable[..., Any],
        read: Callable[[Values], Job[Any]],
        inputs: Iterable[Component],
        *,
        live: bool = False,
        is_kept: bool = False,
    ) -> None:
        """Let an event run a job, see `follow`.

        live: of the events that come while a job runs, the last one follows it. Else they are left out.
        """

        async def run(values: Values) -> AsyncIterator[Values]:
            async with aclosing(self.follow(values, read, is_kept=is_kept)) as steps:
                async for each in steps:
                    yield each

        shown: list[Block] = [self.base, self.grid.grid, *self.seeds.components(), *self.edit.amounts]
        shown += [] if self.invert is None else [self.invert.comparison, self.invert.closeness]
        event(
            run,
            {*inputs, self.base, self.suffix, self.stage.turn},
            [*shown, *self.stage.components()],
            show_progress="hidden",  # the message has it
            api_visibility="private",
            trigger_mode="always_last" if live else "once",
        )

    async def follow(
        self, values: Values, read: Callable[[Values], Job[Any]], *, is_kept: bool = False
    ) -> AsyncGenerator[Values, None]:
        """Run a job as the only one of its visitor: it stops the one before, or does not begin if that is kept.

        is_kept: no other job begins until this one ends or is stopped, so that its result is not lost.
        """
        import gradio as gr

        turn: Turn = values[self.stage.turn]
        if turn.is_kept:
            gr.Warning(IS_KEPT)
            return
        job = turn.job = object()
        turn.is_kept = is_kept
        try:
            async with aclosing(follow_job(self.stage, lambda: read(values))) as steps:
                async for each in steps:
                    if turn.job is not job:  # to leave the steps stops the job
                        break
                    yield each
        finally:
            if is_kept:
                turn.is_kept = False

    def job(
        self, values: Values, find: Callable[[], Named], *, show: Callable[[Image], Values] | None = None
    ) -> Job[Image]:
        """The job that generates the image of a point."""
        suffix = self.chosen_suffix(values)

        def start(progress: JobProgress) -> Future[Image]:
            make = partial(make_image, self.served, find, new_folder(), suffix)
            return self.service.enqueue(make, progress=progress)

        return Job(start, show or self.show)

    def chosen_suffix(self, values: Values) -> str:
        """Raises UserError for what is not offered."""
        suffix = values[self.suffix]
        if suffix not in components.FORMATS.values():
            raise UserError(f"no format {suffix!r}: expected {', '.join(components.FORMATS)}")
        return str(suffix)

    def show(self, image: Image) -> Values:
        """Show the image of a point, which can be edited from now on."""
        return self.stage.show(self.served, image) | self.edit.unedited() | {self.base: image.named}

    # What the buttons and sliders ask for.

    def generate(self, values: Values) -> Job[Image]:
        named = self.seeds.named(values)
        return self.job(values, lambda: named)

    def interpolate(self, values: Values) -> Job[Image]:
        between = self.between
        start, end = (self.seeds.point(values, seed) for seed in between.seeds(values))
        position, title = between.at(values), between.title(values)
        return self.job(values, lambda: Named(point_between(self.served, start, end, position), title))

    def mix_seeds(self, values: Values) -> Job[Image]:
        space = space_of(self.served)
        assert self.mix is not None and space is not None  # else there is no such section
        coarse, fine = (self.seeds.point(values, seed) for seed in self.mix.seeds(values))
        layers, title = self.mix.coarse_layers(values), self.mix.title(values)
        return self.job(values, lambda: Named(mixed_point(space, coarse, fine, layers), title))

    def edit_image(self, values: Values) -> Job[Image]:
        base: Named = values[self.base] or self.seeds.named(values)
        amounts, editor = self.edit.given(values), self.editor
        if editor is None:
            find = partial(moved, self.served.model, base, amounts)
        else:
            method, label = self.edit.chosen_method(values), self.seeds.class_number(values)
            find = partial(editor.edited, base, method, amounts, label)

        def show(image: Image) -> Values:
            return self.stage.show(self.served, image) | {self.base: base}

        return self.job(values, find, show=show)

    def find(self, values: Values) -> Job[Found]:
        invert = self.invert
        assert invert is not None  # else there is no such button
        path: Path | None = values[invert.picture]
        if path is None:
            raise UserError("There is no picture yet: put one in first.")
        find = partial(
            find_latent,
            self.served,
            path.read_bytes(),  # its path would tell where the server keeps files
            path.name,
            new_folder(),
            self.chosen_suffix(values),
            steps=invert.count(values),
            label=self.seeds.class_number(values),
            decode=partial(self.service.decoder.read, max_pixels=self.service.limits.max_pixels),
        )

        def start(progress: JobProgress) -> Future[Found]:
            return self.service.enqueue(partial(find, progress=progress), progress=progress)

        return Job(start, lambda found: self.show(found.image) | invert.shown(found))

    def open(self, values: Values) -> Job[Image]:
        path: Path | None = values[self.opened]
        if path is None:
            raise UserError("There is no image yet: put one in first.")

        def show(image: Image) -> Values:
            return self.show(image) | self.seeds.restored(image.named.point)

        return self.job(values, lambda: opened_point(path, self.served), show=show)

    def show_grid(self, values: Values) -> Job[list[Pixels]]:
        import gradio as gr

        seeds = self.grid.seeds(values)
        points = [self.seeds.point(values, seed) for seed in seeds]

        def start(progress: JobProgress) -> Future[list[Pixels]]:
            return self.service.enqueue(partial(make_grid, self.served, points, progress), progress=progress)

        def show(images: list[Pixels]) -> Values:
            return self.stage.quiet() | {self.grid.grid: gr.update(value=grid_html(seeds, images), visible=True)}

        return Job(start, show)


def following(first: Any, count: Any) -> int:
    """The first seed of the next grid."""
    is_whole = isinstance(first, int) and isinstance(count, int)
    return max(0, min(first + count, LARGEST_SEED)) if is_whole else 0
