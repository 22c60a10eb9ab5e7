"""The rooms inside somebody's own ASGI application, as `uvicorn mounted_app:site` runs it."""

from __future__ import annotations

from fastapi import FastAPI
from rooms_app import app

site = FastAPI(lifespan=app.lifespan)
site.mount("/realtime", app.asgi)
