"""What Gradio keeps of each open page, bounded: about 100 kB that it never deletes by itself."""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

MAX_SESSIONS = 256
"""Pages that are kept; of more, that which was used longest ago is forgotten."""
MAX_UPLOAD_IDS = 1024
"""Uploads whose progress Gradio keeps."""


class PageSessions:
    """The sessions of a Gradio app. One that is forgotten begins anew when its page is used again.

    page: Gradio's app (`gradio.routes.App`).
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.used_s: OrderedDict[str, float] = OrderedDict()
        page.get_blocks().state_session_capacity = page.state_holder.capacity = MAX_SESSIONS

    async def use(self, session: str) -> None:
        """Say that a request belongs to the session."""
        self.used_s[session] = time.monotonic()
        self.used_s.move_to_end(session)
        while len(self.used_s) > MAX_SESSIONS:
            await self.forget(next(iter(self.used_s)))

    async def forget_older_than(self, seconds: float) -> None:
        oldest_s = time.monotonic() - seconds
        jobs = self.page.get_blocks()._queue.active_jobs  # their pages wait, and ask for nothing new
        busy = {event.session_hash for events in jobs if events for event in events}
        for session in [each for each, used_s in self.used_s.items() if used_s < oldest_s and each not in busy]:
            await self.forget(session)

    async def forget(self, session: str) -> None:
        self.used_s.pop(session, None)
        queue, holder = self.page.get_blocks()._queue, self.page.state_holder
        await queue.clean_events(session_hash=session)
        for kept in (
            queue.pending_messages_per_session,
            queue.pending_event_ids_session,
            holder.session_data,
            holder.time_last_used,
        ):
            kept.pop(session, None)

    def forget_configs(self) -> None:
        """Drop what Gradio keeps for deep links, which the server does not open: half of what a page takes."""
        for state in self.page.state_holder.session_data.values():
            state.config_values.clear()

    def forget_files(self) -> None:
        """Drop the names of files that are gone, and the progress of uploads that nobody asked for."""
        from gradio.routes import file_upload_statuses as uploads

        for names in self.page.get_blocks().temp_file_sets:
            names.difference_update([name for name in tuple(names) if not Path(name).exists()])
        if len(uploads._signals) > MAX_UPLOAD_IDS or len(uploads._statuses) > MAX_UPLOAD_IDS:
            uploads._signals.clear()
            uploads._statuses.clear()
