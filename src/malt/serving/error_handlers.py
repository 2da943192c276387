"""Every answer that is not a success has one shape and one sentence."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from malt.errors import MaltError
from malt.serving.refusals import error_answer, status_of


def add_error_handlers(app: FastAPI) -> None:
    """Have what goes wrong in an application told so."""

    @app.exception_handler(MaltError)
    async def tell(request: Request, error: MaltError) -> JSONResponse:
        status = status_of(error)
        return JSONResponse(error_answer(status, str(error)), status, {"Retry-After": "10"} if status == 429 else None)

    @app.exception_handler(RequestValidationError)
    async def tell_form(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse(error_answer(422, f"{where or 'the request'}: {first['msg']}", where or None), 422)

    @app.exception_handler(HTTPException)
    async def tell_http(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(error_answer(error.status_code, str(error.detail)), error.status_code, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def tell_nobody(request: Request, error: ClientDisconnect) -> JSONResponse:
        return JSONResponse(error_answer(400, "the request broke off"), 400)
