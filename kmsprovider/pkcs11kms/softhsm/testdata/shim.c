/* A PKCS#11 library that hands every call to a real one, until it is told to
 * misbehave as tokens do: through the first numbers of the file CONTROL, which the
 * test maps, too. */
#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CK_PTR *
#define CK_DECLARE_FUNCTION(type, name) type name
#define CK_DECLARE_FUNCTION_POINTER(type, name) type (*name)
#define CK_CALLBACK_FUNCTION(type, name) type (*name)
#define NULL_PTR 0
#include "pkcs11.h"

/* What the test writes. */
enum { MODE, CODE, LOGINS, BLOCKED, ENCRYPTS };
enum {
	SOUND,
	REFUSE,   /* EncryptInit and DecryptInit return CODE */
	DOWN,     /* and so do OpenSession and Login */
	SILENT,   /* EncryptInit and DecryptInit do not return */
	OWN_IV,   /* the token writes its own IV over the caller's */
	ONLY_OWN, /* and refuses one that is not zero */
	NO_IV,    /* refuses one that is not zero, and writes none */
	NO_AAD,   /* the associated data is ignored */
	LIE,      /* Decrypt returns other bytes: CODE says which */
	ODD_TAG,  /* a wrong tag is CKR_ENCRYPTED_DATA_INVALID */
	APPEND,   /* Encrypt returns something behind the tag */
};

static volatile unsigned int *control;
static CK_FUNCTION_LIST_PTR real;
static CK_FUNCTION_LIST list;

static CK_RV init(CK_RV (*next)(CK_SESSION_HANDLE, CK_MECHANISM_PTR, CK_OBJECT_HANDLE),
		  CK_SESSION_HANDLE session, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE key, int encrypt)
{
	CK_GCM_PARAMS *gcm = m->pParameter, plain;
	CK_MECHANISM other = *m;
	static unsigned char counter;
	CK_BYTE zero[12] = {0};

	switch (control[MODE]) {
	case REFUSE:
	case DOWN:
		return control[CODE];
	case SILENT:
		__sync_fetch_and_add(&control[BLOCKED], 1);
		while (control[MODE] == SILENT)
			usleep(1000);
		__sync_fetch_and_sub(&control[BLOCKED], 1);
		break;
	case ONLY_OWN:
	case NO_IV:
		if (encrypt && memcmp(gcm->pIv, zero, 12))
			return CKR_MECHANISM_PARAM_INVALID;
		if (control[MODE] == NO_IV)
			break;
		/* fall through */
	case OWN_IV:
		if (encrypt) {
			memset(gcm->pIv, 0xb5, 12);
			gcm->pIv[0] = __sync_add_and_fetch(&counter, 1);
		}
		break;
	case NO_AAD:
		plain = *gcm;
		plain.pAAD = NULL_PTR;
		plain.ulAADLen = 0;
		other.pParameter = &plain;
		return next(session, &other, key);
	}
	return next(session, m, key);
}

static CK_RV EncryptInit(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE key)
{
	__sync_fetch_and_add(&control[ENCRYPTS], 1);
	return init(real->C_EncryptInit, s, m, key, 1);
}

static CK_RV DecryptInit(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE key)
{
	return init(real->C_DecryptInit, s, m, key, 0);
}

static CK_RV Encrypt(CK_SESSION_HANDLE s, CK_BYTE_PTR in, CK_ULONG n, CK_BYTE_PTR out, CK_ULONG_PTR len)
{
	CK_ULONG more = control[MODE] == APPEND ? 16 : 0;
	CK_RV rv;
	if (out != NULL_PTR)
		*len -= more;
	rv = real->C_Encrypt(s, in, n, out, len);
	if (rv == CKR_OK)
		*len += more;
	return rv;
}

static CK_RV Decrypt(CK_SESSION_HANDLE s, CK_BYTE_PTR in, CK_ULONG n, CK_BYTE_PTR out, CK_ULONG_PTR len)
{
	CK_ULONG i;
	CK_RV rv = real->C_Decrypt(s, in, n, out, len);
	if (rv != CKR_OK && control[MODE] == ODD_TAG)
		return CKR_ENCRYPTED_DATA_INVALID;
	if (rv != CKR_OK || out == NULL_PTR || control[MODE] != LIE || *len < 32)
		return rv; /* what the provider tests itself with is shorter */
	switch (control[CODE]) {
	case 0:
		for (i = 0; i < *len; i++)
			out[i] ^= 0x5a;
		break;
	case 1:
		memset(out, 0, *len);
		break;
	default: /* 2 + the length */
		*len = control[CODE] - 2;
	}
	return rv;
}

static CK_RV OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR p, CK_NOTIFY f, CK_SESSION_HANDLE_PTR s)
{
	return control[MODE] == DOWN ? control[CODE] : real->C_OpenSession(slot, flags, p, f, s);
}

static CK_RV Login(CK_SESSION_HANDLE s, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin, CK_ULONG len)
{
	__sync_fetch_and_add(&control[LOGINS], 1);
	return control[MODE] == DOWN ? control[CODE] : real->C_Login(s, user, pin, len);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out)
{
	if (control == NULL_PTR) {
		int fd = open(CONTROL, O_RDWR);
		void *library = dlopen(REAL, RTLD_NOW);
		CK_C_GetFunctionList get;
		if (fd < 0 || library == NULL_PTR)
			return CKR_GENERAL_ERROR;
		control = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		get = (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList");
		if (control == MAP_FAILED || get(&real) != CKR_OK)
			return CKR_GENERAL_ERROR;
		list = *real;
		list.C_EncryptInit = EncryptInit;
		list.C_DecryptInit = DecryptInit;
		list.C_Encrypt = Encrypt;
		list.C_Decrypt = Decrypt;
		list.C_OpenSession = OpenSession;
		list.C_Login = Login;
	}
	*out = &list;
	return CKR_OK;
}
