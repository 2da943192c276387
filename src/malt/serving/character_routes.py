"""The routes of characters, as OpenAI's videos API names them: what videos to come are to remember from their beginning."""

import asyncio
from contextlib import AsyncExitStack

from fastapi import APIRouter, Request

from malt.errors import UsageError
from malt.serving.characters import StoredCharacter
from malt.serving.jobs import VideoJobs
from malt.serving.request_body import BodyReader
from malt.serving.routes import answers, body_of, router_of
from malt.serving.schemas import Character, CharacterDeleted, CharacterRequest


def character_routes(jobs: VideoJobs, body_reader: BodyReader, has_token: bool) -> APIRouter:
    """Make, look at and delete characters."""
    router, characters = router_of("characters", has_token), jobs.characters
    refusals = answers(400, 408, 413, 415, 422, 429, 507)

    @router.post("/videos/characters", responses=refusals, openapi_extra={"requestBody": body_of(CharacterRequest)})
    async def create_character(request: Request) -> Character:
        """Keep a video or picture under a name, for videos that remember it: `characters: [{"id": ...}]`."""
        characters.check_room()
        async with AsyncExitStack() as files:
            asked, file = await body_reader.read(request, CharacterRequest, files)
            if file is None:
                raise UsageError("a character is made of a video; send one as the file video")
            await body_reader.decode(file, jobs.validator.wanted_character(jobs.validator.pipe.frame_size))
            return _describe(await asyncio.to_thread(characters.create, asked.name, file))

    @router.get("/videos/characters/{character_id}", responses=answers(404))
    def get_character(character_id: str) -> Character:
        """A character by its id."""
        return _describe(characters.get(character_id))

    @router.delete("/videos/characters/{character_id}", responses=answers(404))
    def delete_character(character_id: str) -> CharacterDeleted:
        """Delete a character; videos that remember it are as they were."""
        characters.remove(found := characters.get(character_id))
        return CharacterDeleted(id=found.id)

    return router


def _describe(character: StoredCharacter) -> Character:
    return Character(id=character.id, name=character.name, created_at=int(character.created_at))
